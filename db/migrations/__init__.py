"""Own the steps from each release's schema to the next."""
