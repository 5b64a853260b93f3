"""Say how the engine divides its work: how much it takes between two decode steps, and how large its rooms are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Tuning:
    """The defaults fit 30 s clips on any machine.

    A call of about a thousand positions runs at full rate on a CPU and on a GPU; a larger one only takes memory.
    """

    step_positions: int = 4_096  # computed for new prefixes and prompts between two decode steps
    call_positions: int = 1_024  # of prefixes in one call
    call_frames: int = 3_000  # of mel spectrograms in one call of the encoder
    cells: int = 2_048  # positions of a room: a prefix with all its branches
    long_rooms: int = 1  # for what needs more; each has as many positions as the model
    spare_bytes: int = 1 << 30  # of a GPU's memory that rooms leave free, to compute in
    together: bool | None = (
        None  # one attention call for all rooms; None: on a GPU, where a launch costs most
    )
    # How branches grow by one token: in exact shapes, in few shapes, or these replayed on a GPU.
    decode: Literal["plain", "static", "graph"] = "plain"
    device_features: bool | None = None  # mel spectrograms where the model is; None: on a GPU

    def __post_init__(self) -> None:
        if self.spare_bytes < 0:
            raise ValueError(f"spare_bytes must be at least 0, not {self.spare_bytes}")
        for name in ("step_positions", "call_positions", "call_frames", "cells", "long_rooms"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
