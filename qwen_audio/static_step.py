"""Let every branch grow by one token in a step of fixed shapes, so that a GPU can replay it as it was recorded.

A slab's rooms stand in places, each with the same number of lines; a branch takes a line, and lines without a branch
feed something that nobody reads into a cell that belongs to nobody. Number of rooms, of lines and length are rounded
up, so that there are few shapes: steps of one shape compute the same kernels, whoever is in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention

from qwen_audio.attending import Group, join
from qwen_audio.forward import Forward
from qwen_audio.graphs import GraphRecorder, Recorder
from qwen_audio.store import Store
from qwen_audio.tuning import Tuning

logger = logging.getLogger(__name__)

LENGTH_STEP = 128
MOST_SHAPES = 64  # that are kept, each with its buffers and its recording
MOST_IDLE = 4  # lines for each branch: beyond that a step of exact shapes is cheaper
FEW_LINES = 32  # of a step; so few cost no more than one


@dataclass(frozen=True)
class Shape:
    """The lines that a step has for a slab."""

    slab: int
    rooms: int
    lines: int  # of each room
    length: int  # cells that are read
    cells: int  # of a room; the one behind them belongs to nobody

    @property
    def rows(self) -> int:
        """How many lines there are in all."""
        return self.rooms * self.lines


def shape_of(slab: int, groups: Sequence[Group], rooms: int) -> Shape:
    """Return the smallest shape for the branches in a slab of so many rooms."""
    cells = groups[0].room.cells
    longest = max(group.room.length for group in groups)
    return Shape(
        slab,
        min(rooms, _round_up(1 + max(group.room.place for group in groups))),
        _round_up(max(len(group.rows) for group in groups)),
        min(cells, -(-longest // LENGTH_STEP) * LENGTH_STEP),
        cells,
    )


def _round_up(count: int) -> int:
    return 1 << (count - 1).bit_length()


class StaticAttend:
    """Attends from lines to the rooms where they stand, slab by slab; reads nothing but tensors that stay."""

    def __init__(
        self, store: Store, shapes: Sequence[Shape], cells: torch.Tensor, masks: list[torch.Tensor]
    ) -> None:
        self._store = store
        self._cells = cells  # (rows,)
        self._masks = masks  # of each slab, (rooms, 1, lines, length)
        self._slabs = list(_rows(shapes))
        self._places = [
            torch.arange(shape.rooms, device=cells.device).repeat_interleave(shape.lines) for shape in shapes
        ]

    def keep(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> None:
        """Write every line into its cell."""
        for (shape, rows), places in zip(self._slabs, self._places, strict=True):
            self._store.write(
                shape.slab, layer, places, self._cells[rows], key[0, :, rows], value[0, :, rows]
            )

    def attend(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attend with (1, heads, rows, head): (rows, heads, head)."""
        parts = []
        for (shape, rows), mask in zip(self._slabs, self._masks, strict=True):
            keys, values = self._store.slab(shape.slab)[:, layer, : shape.rooms, :, : shape.length]
            heads, head = query.shape[1], query.shape[3]
            lines = query[0, :, rows].view(heads, shape.rooms, shape.lines, head).transpose(0, 1)
            attended = scaled_dot_product_attention(lines, keys, values, attn_mask=mask)
            parts.append(attended.transpose(1, 2).reshape(shape.rows, heads, head))
        return join(parts)


class StaticStep:
    """The buffers of one list of shapes, and the step that reads them."""

    def __init__(self, forward: Forward, store: Store, shapes: Sequence[Shape], device: torch.device) -> None:
        self.shapes = tuple(shapes)
        rows = sum(shape.rows for shape in shapes)
        pinned = device.type == "cuda"
        # Ids, positions, factors and cells of all rows: (4, rows).
        self._host = torch.zeros(4, rows, dtype=torch.long, pin_memory=pinned)
        self._numbers = torch.zeros(4, rows, dtype=torch.long, device=device)
        sizes = [(shape.rooms, 1, shape.lines, shape.length) for shape in shapes]
        self._host_seen = [torch.zeros(size, dtype=torch.bool, pin_memory=pinned) for size in sizes]
        self._seen = [torch.zeros(size, dtype=torch.bool, device=device) for size in sizes]
        self._masks = [torch.zeros(size, dtype=store.dtype, device=device) for size in sizes]
        self._forward = forward
        self._attend = StaticAttend(store, shapes, self._numbers[3], self._masks)
        self.replay: Callable[[], tuple[torch.Tensor, torch.Tensor]] | None = None

    def load(self, groups: Sequence[Group]) -> list[int]:
        """Put the branches, slab by slab, into the buffers; return in which row each stands."""
        numbers = self._host.numpy()
        numbers[:3] = [[0], [0], [1]]
        rows: list[int] = []
        for (shape, slice_), seen in zip(_rows(self.shapes), self._host_seen, strict=True):
            numbers[3, slice_] = shape.cells
            view = seen.numpy()
            view[:] = False
            view[..., 0] = True  # a line that saw nothing would compute what is not a number
            for group in groups:
                if group.room.slab == shape.slab:
                    first = slice_.start + group.room.place * shape.lines
                    for line, row in enumerate(group.rows):
                        values = row.id, row.position, group.kept.factor, row.cell
                        numbers[:, first + line] = values
                        rows.append(first + line)
                    view[group.room.place, 0, : len(group.rows)] = group.seen(shape.length)
        self._numbers.copy_(self._host, non_blocking=True)
        for target, source in zip(self._seen, self._host_seen, strict=True):
            target.copy_(source, non_blocking=True)
        return rows

    def compute(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the best log-probability and its id of every row, (rows,) each."""
        ids, positions, factors, _ = self._numbers
        for mask, seen in zip(self._masks, self._seen, strict=True):
            mask.zero_().masked_fill_(~seen, -torch.inf)  # once, and not in every layer
        return self._forward.next_ids(ids, positions, factors.float(), self._attend)


def _rows(shapes: Sequence[Shape]) -> Iterator[tuple[Shape, slice]]:
    start = 0
    for shape in shapes:
        yield shape, slice(start, start + shape.rows)
        start += shape.rows


class StaticSteps:
    """The steps of all shapes that were met; with a ``recorder`` each is recorded and replayed.

    A recording is used only after its first replay gave what computing gave. When it does not, or recording fails,
    it is said and no step is replayed any more: answers come from computing, as without a recorder.
    """

    def __init__(
        self, forward: Forward, store: Store, device: torch.device, recorder: Recorder | None = None
    ) -> None:
        self._forward = forward
        self._store = store
        self._device = device
        self._recorder = recorder
        self._steps: dict[tuple[Shape, ...], StaticStep] = {}
        self.replays = 0

    def shapes(self, groups: Sequence[Group]) -> tuple[Shape, ...] | None:
        """Return the shapes for branches that feed one row each, None where idle lines would cost too much."""
        by_slab = groupby(groups, key=lambda group: group.room.slab)
        shapes = tuple(
            shape_of(slab, list(inside), len(self._store.slab(slab)[0, 0])) for slab, inside in by_slab
        )
        rows = sum(shape.rows for shape in shapes)
        live = sum(len(group.rows) for group in groups)
        is_known = shapes in self._steps or len(self._steps) < MOST_SHAPES
        return shapes if is_known and rows <= max(FEW_LINES, MOST_IDLE * live) else None

    def run(self, groups: Sequence[Group], shapes: tuple[Shape, ...]) -> tuple[list[float], list[int]]:
        """Feed the one row of each branch, groups slab by slab; return log-probability and id for each, in order."""
        step = self._steps.get(shapes)
        is_new = step is None
        if step is None:
            step = self._steps[shapes] = StaticStep(self._forward, self._store, shapes, self._device)
        rows = step.load(groups)
        if step.replay is not None:
            self.replays += 1
        best, ids = step.compute() if step.replay is None else step.replay()
        found = _read(best, ids, rows)
        if is_new and self._recorder is not None:
            self._record(step, rows, found)
        return found[0], [int(id_) for id_ in found[1]]

    def _record(self, step: StaticStep, rows: list[int], found: tuple[list[float], list[float]]) -> None:
        """Record a step whose result is known, and replay it once: it writes the same into the same cells."""
        assert self._recorder is not None
        try:
            replay = self._recorder.record(step.compute)
            best, ids = replay()
            is_same = np.allclose(_read(best, ids, rows), found, rtol=0, atol=1e-3, equal_nan=True)
            problem = None if is_same else "a replay gave another result"
        except Exception as error:  # noqa: BLE001  # whatever it was, answers do not need it
            problem = repr(error)
        if problem is None:
            step.replay = replay
            return
        logger.warning("steps are computed and not replayed from now on: %s", problem)
        self._recorder = None
        for other in self._steps.values():
            other.replay = None


def _read(best: torch.Tensor, ids: torch.Tensor, rows: list[int]) -> tuple[list[float], list[float]]:
    """Return both at some of their rows, waiting for the device once."""
    numbers = torch.stack((best.double(), ids.double())).tolist()
    return [numbers[0][row] for row in rows], [numbers[1][row] for row in rows]


def make_steps(tuning: Tuning, forward: Forward, store: Store, device: torch.device) -> StaticSteps | None:
    """Return how branches grow by one token, None for steps of exact shapes."""
    if tuning.decode == "plain":
        return None
    if tuning.decode == "static":
        return StaticSteps(forward, store, device)
    if device.type != "cuda":
        logger.warning("steps are not replayed: the model runs on %s, and only CUDA records", device.type)
        return None
    return StaticSteps(forward, store, device, GraphRecorder(device))
