"""Let rows attend: those of a new prefix to what stands before them, those of branches to prefix and own branch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from qwen_audio.rooms import Room
from qwen_audio.scheduling import Kept
from qwen_audio.store import Store
from qwen_audio.strand import Row

LENGTH_STEP = 128  # lengths of one attention call for all rooms are rounded up to it: few shapes, few kernels


class Attend(Protocol):
    """Keeps the keys and values of a step and lets its queries see what they may."""

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write (1, heads, rows, head) each into the store."""

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend with (1, heads, rows, head): (rows, heads, head)."""


def join(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Put rows behind each other, (rows, heads, head); a single part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))


class PrefixAttend:
    """Rows of whole prefixes, behind each other: each sees those of its own prefix up to itself."""

    def __init__(self, store: Store, rooms: Sequence[Room]) -> None:
        self._store = store
        self._rooms = rooms
        self._ends = [0, *accumulate(room.prefix for room in rooms)]

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write every prefix into its room."""
        for room, rows in zip(self._rooms, self.slices(), strict=True):
            self._store.fill(room, layer, key[0, :, rows], value[0, :, rows])

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend prefix by prefix: nothing is padded."""
        parts = [
            scaled_dot_product_attention(
                query[:, :, rows], key[:, :, rows], value[:, :, rows], is_causal=True
            )[0].transpose(0, 1)
            for rows in self.slices()
        ]
        return join(parts)

    def slices(self) -> Iterator[slice]:
        """Say where the rows of each prefix are."""
        return (slice(start, end) for start, end in zip(self._ends, self._ends[1:], strict=False))


@dataclass(frozen=True)
class Group:
    """The rows that a step feeds to one room."""

    kept: Kept
    rows: Sequence[Row]

    @property
    def room(self) -> Room:
        """Where their prefix is."""
        return self.kept.room

    def seen(self, length: int) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """Say what each row may see, (rows, length)."""
        seen = np.zeros((len(self.rows), length), np.bool_)
        seen[:, : self.room.prefix] = True
        for line, row in zip(seen, self.rows, strict=True):
            line[row.seen] = True
        return seen

    def mask(self, length: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Say the same to add to the scores, (rows, length): 0 for yes, minus infinity for no."""
        return np.where(self.seen(length), np.float32(0), np.float32(-np.inf))


class BranchAttend:
    """Rows of branches, one attention call for each room: nothing is padded."""

    def __init__(
        self, store: Store, groups: Sequence[Group], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._store = store
        self._groups = groups
        self._ends = [0, *accumulate(len(group.rows) for group in groups)]
        self._masks = [torch.from_numpy(group.mask(group.room.length)).to(device, dtype) for group in groups]
        self._writes = list(_writes(groups, device))

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write every row into its cell."""
        for slab, rows, places, cells in self._writes:
            self._store.write(slab, layer, places, cells, key[0, :, rows], value[0, :, rows])

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend room by room."""
        parts = []
        for group, mask, start, end in zip(
            self._groups, self._masks, self._ends, self._ends[1:], strict=False
        ):
            keys, values = self._store.room(group.room, layer)
            rows = query[:, :, start:end]
            attended = scaled_dot_product_attention(rows, keys, values, attn_mask=mask)
            parts.append(attended[0].transpose(0, 1))
        return join(parts)


class BatchAttend:
    """Rows of branches, one attention call for each slab: padded, but with few launches and few shapes.

    Meant for GPUs; tested on the CPU for equal answers only.
    """

    def __init__(
        self, store: Store, groups: Sequence[Group], dtype: torch.dtype, device: torch.device
    ) -> None:
        self._store = store
        self._writes = list(_writes(groups, device))
        self._masks, self._lines = [], []
        for slab, rows, _, _ in self._writes:
            mask, lines = _batch_mask([group for group in groups if group.room.slab == slab])
            assert len(lines) == rows.stop - rows.start
            self._masks.append(torch.from_numpy(mask).to(device, dtype))
            self._lines.append(torch.tensor(lines, device=device))

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write every row into its cell."""
        for slab, rows, places, cells in self._writes:
            self._store.write(slab, layer, places, cells, key[0, :, rows], value[0, :, rows])

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend slab by slab."""
        parts = []
        for (slab, rows, places, _), mask, lines in zip(self._writes, self._masks, self._lines, strict=True):
            rooms, _, most, length = mask.shape
            keys, values = self._store.slab(slab)[:, layer, :rooms, :, :length]
            padded = query.new_zeros(rooms, query.shape[1], most, query.shape[3])
            padded[places, :, lines] = query[0, :, rows].transpose(0, 1)
            attended = scaled_dot_product_attention(padded, keys, values, attn_mask=mask)
            parts.append(attended[places, :, lines])
        return join(parts)


def _batch_mask(
    groups: Sequence[Group],
) -> tuple[np.ndarray[tuple[int, int, int, int], np.dtype[np.float32]], list[int]]:
    """Make the mask of all rooms of a slab, (rooms, 1, most rows, length), and say in which line each row stands.

    A line without a row sees nothing, and nobody reads what comes out.
    """
    rooms = 1 + max(group.room.place for group in groups)
    most = max(len(group.rows) for group in groups)
    cells = groups[0].room.cells
    longest = max(group.room.length for group in groups)
    length = min(cells, -(-longest // LENGTH_STEP) * LENGTH_STEP)
    mask = np.full((rooms, 1, most, length), -np.inf, np.float32)
    for group in groups:
        mask[group.room.place, 0, : len(group.rows)] = group.mask(length)
    return mask, [line for group in groups for line in range(len(group.rows))]


def _writes(
    groups: Sequence[Group], device: torch.device
) -> Iterator[tuple[int, slice, torch.Tensor, torch.Tensor]]:
    """Yield each slab with the slice of its rows and their places and cells; groups come slab by slab."""
    start = 0
    for slab in sorted({group.room.slab for group in groups}):
        inside = [
            (group.room.place, row.cell) for group in groups if group.room.slab == slab for row in group.rows
        ]
        places, cells = torch.tensor(list(zip(*inside, strict=True)), device=device)
        yield slab, slice(start, start + len(inside)), places, cells
        start += len(inside)
