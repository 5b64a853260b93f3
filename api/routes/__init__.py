"""Hold the routes, one module for each kind of thing."""
