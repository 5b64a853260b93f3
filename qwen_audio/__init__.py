"""Own the model: an independent port of Qwen-Audio and the engine that answers prompts about audio.

This module, ``tags`` and ``answers`` never reach torch, so that the API and the CPU workers can import them.
"""
