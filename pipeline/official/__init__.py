"""Evaluate as the authors of Qwen-Audio did: their prompts, limits, parsing and metrics, pure and free of torch."""
