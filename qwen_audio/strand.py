"""Lay out what one branch feeds to the model in a step: ids, positions, cells, and what each may see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qwen_audio.branch import Branch
from qwen_audio.scheduling import Kept

Path = np.ndarray[tuple[int], np.dtype[np.int64]]


@dataclass(frozen=True)
class Row:
    """One id to feed. It sees the whole prefix and the first ``depth`` cells of ``path``, the last one its own."""

    id: int
    position: int
    path: Path
    depth: int
    is_asked: bool  # whether what follows it is wanted

    @property
    def cell(self) -> int:
        """Where its key and value go."""
        return int(self.path[self.depth - 1])

    @property
    def seen(self) -> Path:
        """The cells behind the prefix that it sees."""
        return self.path[: self.depth]


class Strand:
    """A branch that grows on a kept prefix. ``rows`` is what the next step feeds; it stays until ``push``."""

    def __init__(self, branch: Branch, kept: Kept) -> None:
        self.branch = branch
        self.kept = kept
        self.taken: list[int] = []  # every cell it holds
        self._path: Path = np.zeros(branch.ask.cells, np.int64)  # filled as it grows
        self._depth = 0
        self.rows = self._lay(branch.ask.prompt)
        # What was fed after the prompt, to its place among the asked rows.
        self.heads: dict[tuple[int, ...], int] = {(): 0}
        if branch.ask.candidates is not None:
            self._branch_out()

    def push(self, id_: int) -> None:
        """Feed a new token next."""
        self.rows = self._lay((id_,))

    @property
    def wants_one(self) -> bool:
        """Whether it feeds one id and wants the next one."""
        return len(self.rows) == 1 and self.branch.ask.candidates is None

    def _lay(self, ids: Sequence[int]) -> list[Row]:
        """Lay ids behind each other: what follows the last one is asked."""
        first, self._depth = self._depth, self._depth + len(ids)
        self._path[first : self._depth] = self._take(len(ids))
        start = self.kept.prefix.positions
        return [
            Row(id_, start + depth - 1, self._path, depth, is_asked=depth == self._depth)
            for depth, id_ in enumerate(ids, start=first + 1)
        ]

    def _branch_out(self) -> None:
        """Lay the candidates as a tree behind the prompt, without their last ids: one row for each shared start."""
        paths: dict[tuple[int, ...], Path] = {(): self._path[: self._depth].copy()}
        for head in self.branch.ask.heads:
            path: Path = np.append(paths[head[:-1]], self._take(1))
            paths[head] = path
            self.heads[head] = len(self.heads)
            position = self.kept.prefix.positions + len(path) - 1
            self.rows.append(Row(head[-1], position, path, len(path), is_asked=True))

    def _take(self, cells: int) -> list[int]:
        taken = self.kept.room.take(cells)
        self.taken += taken
        return taken
