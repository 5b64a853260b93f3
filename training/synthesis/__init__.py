"""Synthesise speech, sounds and music with everything that is true about them."""
