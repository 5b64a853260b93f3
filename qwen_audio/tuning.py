"""Say how the engine divides its work: how much it takes between two decode steps, and how large its rooms are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Tuning:
    """The defaults fit 30 s clips on a CPU, where calls of about a thousand positions run at full rate."""

    step_positions: int = 4_096  # computed for new prefixes and prompts between two decode steps
    call_positions: int = 1_024  # of prefixes in one call
    call_frames: int = 3_000  # of mel spectrograms in one call of the encoder
    cells: int = 2_048  # positions of a room: a prefix with all its branches
    first_rooms: int = 4  # that get memory together; then each slab doubles what there is
    long_rooms: int = 1  # for what needs more; each has as many positions as the model
    spare_bytes: int = 1 << 30  # of a GPU's memory that rooms leave free, to compute in
    together: bool = False  # one attention call for all rooms of a slab
    # How branches grow by one token: in exact shapes, in few shapes, or these replayed on a GPU.
    decode: Literal["plain", "static", "graph"] = "plain"
    device_features: bool = False  # mel spectrograms where the model is
    # Whether cuDNN may attend. It plans anew for every shape, for tens of milliseconds, and clips have all lengths;
    # torch prefers it on a Hopper.
    cudnn_attention: bool = False

    def __post_init__(self) -> None:
        if self.spare_bytes < 0:
            raise ValueError(f"spare_bytes must be at least 0, not {self.spare_bytes}")
        for name in ("step_positions", "call_positions", "call_frames", "cells", "first_rooms", "long_rooms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


CPU = Tuning()
GPU = Tuning(
    # A launch costs as much as computing a few hundred positions: calls are large, and few.
    call_positions=4_096,
    call_frames=12_000,
    spare_bytes=3 << 30,
    together=True,
    decode="static",
    device_features=True,
)
"""What a GPU wants, from the sizes of its kernels and of the model; none was at hand to measure it."""


def tuning_of(device_type: str, places: int) -> Tuning:
    """Return the tuning for a type of device, as torch names it, and so many prefixes that may be open.

    A worker opens up to twice as many prefixes as it hears chunks: on a GPU those that it hears share a slab, because
    each slab is a call more in every layer.
    """
    return replace(GPU, first_rooms=max(GPU.first_rooms, places // 2)) if device_type == "cuda" else CPU
