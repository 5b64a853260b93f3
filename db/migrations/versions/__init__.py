"""Hold one module for each schema step, in order."""
