"""Find the checkpoint that a model's name stands for, and how and where it is to be loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from qwen_audio.bundled import find_bundled
from qwen_audio.tiny import write_tiny
from settings import Settings
from settings.devices import check_gpu

UNTRAINED = "tiny"


def find_source(settings: Settings, model: str) -> str | Path:
    """Return what to load: the bundled folder, the untrained checkpoint, which is written first, or the name itself."""
    if model != UNTRAINED:
        return find_bundled(model) or model
    folder = settings.data_dir.absolute() / "models" / UNTRAINED
    write_tiny(folder)
    return folder


def load_options(settings: Settings) -> dict[str, Any]:
    """Return how the settings want a model loaded, as ``Engine.load`` takes it.

    Raises ``InvalidSettings`` for a GPU that is not there.
    """
    check_gpu(settings.device, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    return {
        "device": settings.device,
        "dtype": settings.precision,
        "weights": settings.weights,
        "cuda_graphs": settings.cuda_graphs,
    }
