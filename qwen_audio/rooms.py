"""Count the cells of the cache: which room a prefix has, and which cells of it are free. Free of torch.

Rooms get memory when they are needed, a slab of several at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Shelf:
    """Up to ``rooms`` rooms of one size; ``cells`` is how many positions each holds.

    The first slab has ``first`` rooms; each further one doubles what there is.
    """

    rooms: int
    cells: int
    first: int = 4

    def next_slab(self, rooms: int) -> int:
        """Say how many rooms the next slab should have, when there are so many."""
        return min(max(self.first, rooms), self.rooms - rooms)


class Memory(Protocol):
    """Where the memory of rooms comes from."""

    def add(self, cells: int, rooms: int) -> tuple[int, int]:
        """Get a slab for up to so many rooms of so many cells; return its number and how many it holds, 0 for none."""


@dataclass(eq=False)
class Room:
    """The cells of one prefix and its branches: the prefix in the first ones, tokens of branches behind it.

    Cells need no order, because keys carry their position; so those of an ended branch are used again. What may be
    taken is reserved first, so that a branch that has begun never lacks room.
    """

    shelf: int
    place: int  # in its slab
    cells: int
    slab: int = 0  # its number among the slabs of all shelves
    prefix: int = 0  # cells that hold the prefix
    reserved: int = 0  # cells promised to branches
    length: int = 0  # cells that were ever used; those beyond need not be read
    _free: list[int] = field(default_factory=list)  # below ``length``, as a heap

    def settle(self, prefix: int) -> None:
        """Begin anew with a prefix of so many positions."""
        self.prefix = self.length = prefix
        self.reserved = 0
        self._free.clear()

    def reserve(self, cells: int) -> bool:
        """Promise cells to a branch; False when there are not as many."""
        if self.prefix + self.reserved + cells > self.cells:
            return False
        self.reserved += cells
        return True

    def take(self, cells: int) -> list[int]:
        """Take cells that have been reserved, the lowest ones, so that the length stays small."""
        taken = [heapq.heappop(self._free) for _ in range(min(cells, len(self._free)))]
        more = cells - len(taken)
        taken += range(self.length, self.length + more)
        self.length += more
        assert self.length <= self.cells, "a branch took more than it reserved"
        return taken

    def give_back(self, taken: Sequence[int], reserved: int) -> None:
        """Take back a branch's cells and what it had reserved."""
        self.reserved -= reserved
        for cell in taken:
            heapq.heappush(self._free, cell)
        if self.length - self.prefix == len(self._free):  # no branch is left
            self.length = self.prefix
            self._free.clear()

    @property
    def used(self) -> int:
        """How many cells hold something that is needed."""
        return self.length - len(self._free)
