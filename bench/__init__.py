"""Measure what the documentation claims; each module prints a table and, last, one JSON object."""
