"""Hold what developers run on the code itself."""
