"""Hold the keys and values of every room in tensors that never move, and get memory for more of them.

What they hold is always finite: a masked cell counts for nothing only as long as zero times its value is zero. So
what is not finite is written as zero, and whoever wrote it is told by its own scores, which stay as they are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.faults import is_out_of_memory, release_memory
from qwen_audio.rooms import Room
from qwen_audio.tuning import tuning_of

logger = logging.getLogger(__name__)

CPU_PLACES, MOST_PLACES = 8, 32


def free_bytes(device: torch.device) -> int | None:
    """Say how much memory of a GPU can still be had; None on a CPU, which gives memory to a page when it is written."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def fitting_places(
    config: QwenAudioConfig,
    dtype: torch.dtype,
    device: torch.device,
    free: Callable[[torch.device], int | None] = free_bytes,
) -> int:
    """Say how many chunks a loaded model should hold at a time: 8 on a CPU, on a GPU as its memory allows.

    A decode step reads all weights for however many chunks there are, so more of them cost little, up to where their
    keys and values weigh as much. A quarter of the rooms is left to chunks that open windows.
    """
    left = free(device)
    if left is None:
        return CPU_PLACES
    tuning = tuning_of(device.type, MOST_PLACES)
    long = tuning.long_rooms * room_bytes(config, dtype, config.max_position_embeddings)
    rooms = (left - tuning.spare_bytes - long) // room_bytes(config, dtype, tuning.cells)
    return max(1, min(MOST_PLACES, rooms * 3 // 4))


def room_bytes(config: QwenAudioConfig, dtype: torch.dtype, cells: int) -> int:
    """Say how much memory a room of so many cells takes, with the one that belongs to nobody."""
    width = config.num_attention_heads * config.kv_channels
    return 2 * config.num_hidden_layers * width * (cells + 1) * dtype.itemsize


class Store:
    """The slabs, each a tensor (keys and values, layers, rooms, heads, cells + 1, head); the rooms' ``Memory``.

    A slab is only made when its memory is free beside ``spare_bytes``, and smaller when it is not. The cell behind
    the last one belongs to nobody and is never read: rows that only fill a batch up write there.
    """

    def __init__(
        self,
        config: QwenAudioConfig,
        dtype: torch.dtype,
        device: torch.device,
        spare_bytes: int,
        free: Callable[[torch.device], int | None] = free_bytes,
    ) -> None:
        self._config = config
        self.dtype = dtype
        self._device = device
        self._spare_bytes = spare_bytes
        self._free = free
        self._slabs: list[torch.Tensor] = []
        self._is_short = False  # memory was short although it seemed free: nothing more is asked for
        self._has_told = False

    def add(self, cells: int, rooms: int) -> tuple[int, int]:
        """Make a slab of up to ``rooms`` rooms; return its number and how many it holds, 0 when memory is short."""
        wanted = rooms
        rooms = self._fitting(cells, wanted)
        if rooms < wanted:
            release_memory()  # of what nobody holds any more
            rooms = self._fitting(cells, wanted)
        while rooms and not self._is_short:
            slab = self._try(cells, rooms)
            if slab is not None:
                self._slabs.append(slab)
                break
            self._is_short = rooms == 1
            rooms //= 2
        rooms = 0 if self._is_short else rooms
        if rooms < wanted and not self._has_told:
            self._has_told = True
            logger.warning(
                "memory is short: %d more rooms were wanted for the cache and %d could be made; fewer chunks are "
                "heard at a time. Set EARWITNESS_PLACES lower, or leave more memory free",
                wanted,
                rooms,
            )
        return len(self._slabs) - 1, rooms

    def _fitting(self, cells: int, rooms: int) -> int:
        free = self._free(self._device)
        return (
            rooms if free is None else min(rooms, max(0, free - self._spare_bytes) // self.room_bytes(cells))
        )

    def room_bytes(self, cells: int) -> int:
        """Say how much memory a room takes."""
        return room_bytes(self._config, self.dtype, cells)

    def slab(self, number: int) -> torch.Tensor:
        """Return a slab's tensor."""
        return self._slabs[number]

    def room(self, room: Room, layer: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the keys and the values of a room up to its length, (1, heads, length, head) each."""
        keys, values = self._slabs[room.slab][:, layer, room.place, None, :, : room.length]
        return keys, values

    def fill(self, room: Room, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write a prefix into its room: (heads, positions, head) each."""
        target = self._slabs[room.slab][:, layer, room.place, :, : room.prefix]
        for states, place in zip((key, value), target, strict=True):
            torch.nan_to_num(states, nan=0.0, posinf=0.0, neginf=0.0, out=place)

    def write(
        self,
        slab: int,
        layer: int,
        places: torch.Tensor,
        cells: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
    ) -> None:
        """Write rows into cells of rooms of one slab: places and cells (rows,), the rest (heads, rows, head)."""
        keys, values = self._slabs[slab][:, layer]
        keys[places, :, cells] = finite(key).transpose(0, 1)
        values[places, :, cells] = finite(value).transpose(0, 1)

    def _try(self, cells: int, rooms: int) -> torch.Tensor | None:
        config = self._config
        shape = (
            2,
            config.num_hidden_layers,
            rooms,
            config.num_attention_heads,
            cells + 1,
            config.kv_channels,
        )
        try:
            return torch.zeros(shape, dtype=self.dtype, device=self._device)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        release_memory()  # out here the error is gone, and with it what it held
        return None


def finite(states: torch.Tensor) -> torch.Tensor:
    """Return states with zero in place of what is not finite."""
    return torch.nan_to_num(states, nan=0.0, posinf=0.0, neginf=0.0)
