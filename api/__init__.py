"""Serve REST: jobs and uploads in, their progress and what was found out. Free of torch."""
