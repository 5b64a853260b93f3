"""Hold the commands, one module for each family; heavy imports wait until a command runs."""
