"""Keep a process's places filled: claim as much ready work as there are free places, whenever woken or by the clock."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from db.claiming import claim_passes, is_due
from db.claims import Claim, release
from db.states import PassKind
from settings.logs import about
from workers.attempt import Ending, Work, attempt, ids_of
from workers.context import WorkerContext
from workers.gate import Gate
from workers.isolation import Isolation
from workers.leases import Lease, LeaseKeeper
from workers.numbers import Numbers
from workers.rest import Rest
from workers.silence import Silence

logger = logging.getLogger(__name__)

OVERDUE_SECONDS = 5.0  # after the grace, for work to notice that it should stop
GATHER_SECONDS = 0.01  # how long places may come free before the next claim


@dataclass(frozen=True)
class Lane:
    """One kind of work and how much of it this process does at a time."""

    kind: PassKind
    places: int
    work: Work
    model: str = ""
    claim: Callable[..., list[Claim]] = claim_passes
    device: str | None = None
    numbers: Callable[[], Mapping[str, float]] = dict  # what the engine behind it counts
    _free: threading.BoundedSemaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.places < 1:
            raise ValueError(f"the {self.kind} lane needs at least one place")
        object.__setattr__(self, "_free", threading.BoundedSemaphore(self.places))

    def take_places(self, most: int) -> int:
        """Reserve up to ``most`` free places, without waiting; return how many."""
        taken = 0
        while taken < most and self._free.acquire(blocking=False):
            taken += 1
        return taken

    def give_places(self, count: int = 1) -> None:
        """Free reserved places."""
        if count:
            self._free.release(count)


class Runner:
    """The feeder of a process: one thread for each lane claims, a pool works, one keeper renews all leases.

    Doorbells only wake it (``wake``) or lend it a thread (``work_one``); without any it polls. After every piece of
    work it looks for more at once, so a lost message costs at most one pause. Suspects have turns of their own, with
    nothing beside them (``workers.isolation``). ``overdue`` is called when work does not end in time after a drain:
    its passes have been given back by then.
    """

    def __init__(
        self,
        context: WorkerContext,
        lanes: Sequence[Lane],
        *,
        poll_seconds: float,
        overdue: Callable[[], None] = lambda: None,
    ) -> None:
        self._context = context
        self._overdue = overdue
        self._gate = Gate()
        self._drainer_lock = threading.Lock()
        self._drainer: threading.Thread | None = None
        self._lanes = {lane.kind: lane for lane in lanes}
        self._rests = {lane.kind: Rest(lane.kind) for lane in lanes}
        self._poll_seconds = poll_seconds
        self._keeper = LeaseKeeper(context.database, context.settings.lease_seconds)
        self._pool = ThreadPoolExecutor(sum(lane.places for lane in lanes), thread_name_prefix="work")
        self._wakes = {lane.kind: threading.Event() for lane in lanes}
        self._stopping = threading.Event()
        self._silence = Silence("the database")
        self._isolation = Isolation(context, self._gate, self._stopping, self._silence)
        self._looked_at = {lane.kind: time.monotonic() for lane in lanes}
        self.counts = Numbers()
        self._threads = [
            threading.Thread(target=self._feed, args=(lane,), name=f"feed-{lane.kind}", daemon=True)
            for lane in lanes
        ]

    @property
    def lanes(self) -> Sequence[Lane]:
        """What this process does."""
        return list(self._lanes.values())

    @property
    def held(self) -> int:
        """How many passes it works on."""
        return len(self._keeper.held())

    @property
    def draining(self) -> bool:
        """Whether it takes no more work."""
        return self._stopping.is_set()

    @property
    def trouble(self) -> str | None:
        """Why a lane of this process rests; None while all work."""
        return next((rest.why for rest in self._rests.values() if rest.why is not None), None)

    def seconds_since_look(self) -> float:
        """Return how long ago the lane that is furthest behind last looked for work, or was known to be busy."""
        return time.monotonic() - min(self._looked_at.values())

    def numbers(self) -> dict[str, float]:
        """Return what this process and its engines count, by flat names."""
        engines = [lane.numbers() for lane in self._lanes.values()]
        return {**self.counts.read(), **{name: one for found in engines for name, one in found.items()}}

    def start(self) -> None:
        """Begin to claim."""
        for thread in self._threads:
            thread.start()

    def wake(self, kind: PassKind) -> None:
        """Look for work of this kind now; unknown kinds are ignored."""
        if kind in self._wakes:
            self._wakes[kind].set()

    def work_one(self, kind: PassKind) -> bool:
        """Claim the most urgent ready pass and work on it in the calling thread; False when there was none."""
        lane = self._lanes.get(kind)
        if lane is None or self._stopping.is_set():
            return False
        if not self._rests[kind].most(1) or not lane.take_places(1):
            return False
        claims = self._claim(lane, 1)
        if not claims:
            lane.give_places()
            return False
        self._attempt(lane, claims[0])
        return True

    def drain(self, grace_seconds: float) -> None:
        """Claim nothing more; what does not end within ``grace_seconds`` is given back. Returns at once, idempotent.

        Given back, an attempt does not count.
        """
        self._stopping.set()
        for wake in self._wakes.values():
            wake.set()
        with self._drainer_lock:
            if self._drainer is not None:
                return
            self._drainer = threading.Thread(
                target=self._drain, args=(grace_seconds,), name="drain", daemon=True
            )
            self._drainer.start()

    def stop(self, grace_seconds: float) -> None:
        """Drain, and wait until it is done. Idempotent."""
        self.drain(grace_seconds)
        if self._drainer is not None:
            self._drainer.join()
        self._pool.shutdown(wait=self._gate.is_empty_within(0.0))
        self._keeper.close()

    def _drain(self, grace_seconds: float) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=5.0)
        if self._gate.is_empty_within(grace_seconds):
            return
        self._keeper.stop_work()
        if self._gate.is_empty_within(OVERDUE_SECONDS):
            return
        for lease in self._keeper.held():
            with about(**ids_of(lease.claim)):
                self._give_back(lease)
        self._overdue()

    def _give_back(self, lease: Lease) -> None:
        logger.warning("%s pass %s does not stop: it is given back", lease.claim.kind, lease.claim.pass_id)
        lease.lose()
        try:
            with self._context.database.write() as session:
                release(session, lease.claim)
        except SQLAlchemyError as error:
            logger.warning("pass %s could not be given back: %s", lease.claim.pass_id, error)

    def _feed(self, lane: Lane) -> None:
        wake, rest = self._wakes[lane.kind], self._rests[lane.kind]
        found_nothing = False
        while not self._stopping.is_set():
            self._touch_alive_file()
            if not rest.why and self._take_suspects_turn(lane):
                self._wake_all()
            places = lane.take_places(rest.most(lane.places))
            claims = self._claim(lane, places, look_first=found_nothing) if places else self._busy(lane)
            found_nothing = bool(places) and not claims
            lane.give_places(places - len(claims))
            for claim in claims:
                self._pool.submit(self._attempt, lane, claim)
            if not claims:
                # Jitter, so that many workers do not ask in step.
                pause = self._poll_seconds * (0.5 + random.random() / 2)  # noqa: S311
                wake.wait(min(pause, self._isolation.seconds_to_next_turn(lane.kind)))
            wake.clear()
            # Places come free one by one, soon after each other: a claim costs the same for one pass and for many.
            self._stopping.wait(GATHER_SECONDS)

    def _take_suspects_turn(self, lane: Lane) -> bool:
        def work(claim: Claim) -> Future[None]:
            return self._pool.submit(self._attempt_alone, lane, claim)

        def touch() -> None:
            self._touch_alive_file()
            self._busy(lane)

        return self._isolation.take_turn(lane.kind, lane.model, work, touch)

    def _wake_all(self) -> None:
        for wake in self._wakes.values():
            wake.set()

    def _claim(self, lane: Lane, places: int, *, look_first: bool = False) -> list[Claim]:
        """Claim as much; what comes back is inside the gate. An idle process looks before it locks."""
        if not self._gate.enter():
            return self._busy(lane)
        claims: list[Claim] = []
        try:
            if look_first and not self._is_due(lane):
                return self._busy(lane)
            with self._context.database.write() as session:
                claims = lane.claim(
                    session,
                    lane.kind,
                    self._context.name,
                    model=lane.model,
                    lease_seconds=self._context.settings.lease_seconds,
                    limit=places,
                )
            self._looked_at[lane.kind] = time.monotonic()
            self._silence.ended()
        except SQLAlchemyError as error:
            self._silence.met("no work could be claimed", error)
            claims = []
        finally:
            self._gate.become(len(claims))
        return claims

    def _is_due(self, lane: Lane) -> bool:
        with self._context.database.read() as session:
            found = is_due(session, lane.kind, model=lane.model)
        self._silence.ended()
        return found

    def _busy(self, lane: Lane) -> list[Claim]:
        self._looked_at[lane.kind] = time.monotonic()
        return []

    def _attempt(self, lane: Lane, claim: Claim) -> None:
        try:
            self._attempt_alone(lane, claim)
        finally:
            lane.give_places()
            self._wakes[lane.kind].set()

    def _attempt_alone(self, lane: Lane, claim: Claim) -> None:
        """Attempt a claim that is inside the gate and, as the only one there, needs no place."""
        try:
            ending = attempt(self._context, self._keeper, claim, lane.work, self._rests[lane.kind])
            if ending is Ending.DONE:
                self.counts.add_done(lane.kind)
            else:
                self.counts.add(f"{ending}_{lane.kind}")
        finally:
            self._gate.leave()

    def _touch_alive_file(self) -> None:
        if self._context.settings.alive_file is not None:
            self._context.settings.alive_file.touch()
