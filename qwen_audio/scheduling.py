"""Decide what the engine does next: which prefixes get a room and which branches start. Free of torch.

Waiting branches are looked at in the order they came. Between two decode steps only so many new positions are
computed, but always some: so neither those who wait nor those who decode starve.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from qwen_audio.errors import EngineOutOfMemory, NoRoom
from qwen_audio.rooms import Memory, Room, Shelf


class Held(Protocol):
    """What the schedule knows of a prefix."""

    @property
    def positions(self) -> int:
        """How many positions it takes."""

    @property
    def is_closed(self) -> bool:
        """Whether its room may be given to another."""


class Sizes(Protocol):
    """What the schedule knows of what is asked."""

    @property
    def prompt(self) -> tuple[int, ...]:
        """The prompt's ids."""

    @property
    def cells(self) -> int:
        """How many cells the branch needs at most."""


class Request(Protocol):
    """What the schedule knows of a branch."""

    @property
    def prefix(self) -> Held:
        """What the branch continues."""

    @property
    def ask(self) -> Sizes:
        """How large it may grow."""


R = TypeVar("R", bound=Request)


@dataclass(eq=False)
class Kept:
    """A prefix in its room, computed under one NTK factor: what all branches with that factor share."""

    prefix: Held
    factor: int
    room: Room
    live: int = 0  # branches that grow on it
    used: int = 0  # the plan that used it last

    @property
    def key(self) -> tuple[Held, int, int]:
        """What must agree for a branch to share it."""
        return self.prefix, self.factor, self.room.shelf


@dataclass
class Plan(Generic[R]):
    """What to do before the next decode step: fill rooms with their prefixes, then start branches.

    ``refused`` are those that find no memory here, ever.
    """

    fill: list[Kept] = field(default_factory=list)
    starts: list[tuple[R, Kept]] = field(default_factory=list)
    refused: list[tuple[R, NoRoom]] = field(default_factory=list)


class Schedule:
    """Knows the rooms and who lives there; only the engine's thread calls it."""

    def __init__(
        self, shelves: Sequence[Shelf], step_positions: int, trained: int | None, memory: Memory
    ) -> None:
        self.shelves = tuple(sorted(shelves, key=lambda shelf: shelf.cells))
        self._step_positions = step_positions
        self._trained = trained  # the model's trained length, None without dynamic NTK
        self._memory = memory
        self._rooms = [0 for _ in self.shelves]  # that have memory
        self._free: list[list[tuple[int, int, Room]]] = [[] for _ in self.shelves]  # heaps, by slab and place
        self._kept: dict[tuple[Held, int, int], Kept] = {}
        self._plans = 0
        self.evictions = 0  # idle prefixes that lost their room

    def plan(self, waiting: Iterable[R]) -> Plan[R]:
        """Choose from the branches that wait, first come first served; what is planned is reserved at once.

        Raises ``EngineOutOfMemory`` when there is no memory for a single room at all.
        """
        self._plans += 1
        plan: Plan[R] = Plan()
        left = self._step_positions
        full: set[object] = set()  # rooms, and shelves, in which nobody may be overtaken
        for request in waiting:
            key = self._key(request)
            kept = self._kept.get(key)
            cost = len(request.ask.prompt) + (request.prefix.positions if kept is None else 0)
            if cost > left and plan.starts:
                break
            if kept is None and key[2] not in full:
                try:
                    kept = self._admit(key, plan)
                except NoRoom as error:
                    plan.refused.append((request, error))
                    continue
            if kept is None or kept in full or not kept.room.reserve(request.ask.cells):
                full.add(key[2] if kept is None else kept)
                continue
            left -= cost
            kept.live += 1
            kept.used = self._plans
            plan.starts.append((request, kept))
        return plan

    def end(self, kept: Kept, taken: Sequence[int], reserved: int) -> None:
        """A branch has ended: its cells are free."""
        kept.live -= 1
        kept.room.give_back(taken, reserved)

    def drop(self, kept: Kept) -> None:
        """Forget a kept prefix; its room is free."""
        del self._kept[kept.key]
        self._put_free(kept.room)

    def forget(self) -> None:
        """Forget everything that is kept: the engine has ended."""
        self._kept.clear()

    def sweep(self) -> None:
        """Free the rooms of closed prefixes on which nothing grows any more."""
        for kept in [kept for kept in self._kept.values() if kept.prefix.is_closed and not kept.live]:
            self.drop(kept)

    def fits(self, request: Request) -> bool:
        """Say whether any room is large enough."""
        return request.prefix.positions + request.ask.cells <= self.shelves[-1].cells

    @property
    def used_cells(self) -> int:
        """How many cells hold something that is needed."""
        return sum(kept.room.used for kept in self._kept.values())

    @property
    def rooms(self) -> int:
        """How many rooms have memory."""
        return sum(self._rooms)

    @property
    def cells(self) -> int:
        """How many cells these rooms have."""
        return sum(rooms * shelf.cells for rooms, shelf in zip(self._rooms, self.shelves, strict=True))

    def _key(self, request: Request) -> tuple[Held, int, int]:
        prefix, ask = request.prefix, request.ask
        factor = ntk_factor(prefix.positions + len(ask.prompt), self._trained)
        need = prefix.positions + ask.cells
        shelf = next(number for number, shelf in enumerate(self.shelves) if shelf.cells >= need)
        return prefix, factor, shelf

    def _admit(self, key: tuple[Held, int, int], plan: Plan[R]) -> Kept | None:
        prefix, factor, shelf = key
        if not self._free[shelf] and not self._grow(shelf):
            idle = [kept for kept in self._kept.values() if kept.room.shelf == shelf and not kept.live]
            if not idle:
                return None
            self.evictions += 1
            self.drop(min(idle, key=lambda kept: kept.used))  # it is computed again when somebody asks
        kept = Kept(prefix, factor, heapq.heappop(self._free[shelf])[-1])
        kept.room.settle(prefix.positions)
        self._kept[key] = kept
        plan.fill.append(kept)
        return kept

    def _grow(self, number: int) -> bool:
        """Get memory for more rooms; False when there is none, or all rooms of the shelf have theirs."""
        shelf, rooms = self.shelves[number], self._rooms[number]
        wanted = shelf.next_slab(rooms)
        slab, got = self._memory.add(shelf.cells, wanted) if wanted else (0, 0)
        if not rooms and not got:
            lack = f"there is no memory for a single room of {shelf.cells} positions"
            raise NoRoom(lack) if any(self._rooms) else EngineOutOfMemory(lack)
        self._rooms[number] += got
        for place in range(got):
            self._put_free(Room(number, place, shelf.cells, slab))
        return got > 0

    def _put_free(self, room: Room) -> None:
        heapq.heappush(self._free[room.shelf], (room.slab, room.place, room))


def ntk_factor(length: int, trained: int | None) -> int:
    """Say by which factor a prompt of that length is computed; equals ``rotary.ntk_alpha``."""
    if trained is None or length <= trained:
        return 1
    return int(2 ** math.ceil(math.log2(length / trained) + 1) - 1)
