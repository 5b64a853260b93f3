"""Turn recordings into chunks, answers into findings: pure logic, free of torch, storage and database."""
