"""Hold the keys and values of every room in static tensors that never move.

What they hold is always finite: a masked cell counts for nothing only as long as zero times its value is zero. So
what is not finite is written as zero, and whoever wrote it is told by its own scores, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.rooms import Room, Shelf


class Store:
    """The tensors of each shelf, (keys and values, layers, rooms, heads, cells, head)."""

    def __init__(
        self, config: QwenAudioConfig, shelves: Sequence[Shelf], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._config = config
        self._shelves = shelves
        self._dtype = dtype
        self._device = device
        self._tensors: dict[int, torch.Tensor] = {}

    def shelf(self, number: int) -> torch.Tensor:
        """Return a shelf's tensor; it is made when it is first needed, because few meet a long prompt.

        On a CPU the system gives memory to a page when it is first written.
        """
        if number not in self._tensors:
            rooms, cells = self._shelves[number].rooms, self._shelves[number].cells
            layers, heads = self._config.num_hidden_layers, self._config.num_attention_heads
            shape = (2, layers, rooms, heads, cells, self._config.kv_channels)
            self._tensors[number] = torch.zeros(shape, dtype=self._dtype, device=self._device)
        return self._tensors[number]

    def room(self, room: Room, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and the values of a room up to its length, (1, heads, length, head) each."""
        keys, values = self.shelf(room.shelf)[:, layer, room.place, None, :, : room.length]
        return keys, values

    def fill(self, room: Room, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write a prefix into its room: (heads, positions, head) each."""
        target = self.shelf(room.shelf)[:, layer, room.place, :, : room.prefix]
        target[0], target[1] = _finite(key), _finite(value)

    def write(
        self,
        shelf: int,
        layer: int,
        places: torch.Tensor,
        cells: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
    ) -> None:
        """Write rows into cells of rooms of one shelf: places and cells (rows,), the rest (heads, rows, head)."""
        keys, values = self.shelf(shelf)[:, layer]
        keys[places, :, cells] = _finite(key).transpose(0, 1)
        values[places, :, cells] = _finite(value).transpose(0, 1)


def _finite(states: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(states, nan=0.0, posinf=0.0, neginf=0.0)
