"""Make the bundled sample recordings from the mini model's world: ``python -m training.samples [folder]``."""
