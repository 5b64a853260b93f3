"""Refuse a GPU that is named in the settings and is not there; whoever asks has counted those that are."""

from __future__ import annotations

from settings import PREFIX, InvalidSettings


def check_gpu(device: str, there: int) -> None:
    """Raise ``InvalidSettings`` unless ``device`` needs no GPU or is one of the first ``there``."""
    kind, _, number = device.partition(":")
    if kind == "cuda" and int(number or 0) >= there:
        raise InvalidSettings(
            f"wrong settings: {PREFIX}DEVICE: there is no {device} here, torch sees {there} GPUs. Use auto or cpu, or "
            "install a torch with CUDA and the driver (nvidia-smi lists the cards)"
        )
