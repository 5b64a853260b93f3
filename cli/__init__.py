"""Offer the ``earwitness`` command: a client of the API, and the way to start the service."""
