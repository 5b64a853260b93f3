"""Work on suspects one by one, each with nothing else in this process, so that another crash tells who is guilty."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait

from sqlalchemy.exc import SQLAlchemyError

from db.claims import Claim
from db.states import PassKind
from db.suspects import Reserved, claim_suspect, has_suspects, keep_reserved, reserve_suspect
from settings.logs import about
from workers.attempt import ids_of
from workers.context import WorkerContext
from workers.gate import Gate
from workers.silence import Silence

logger = logging.getLogger(__name__)

IN_A_ROW = 8  # suspects of a turn: others wait for no more than these
LOOK_SECONDS = 1.0  # between two turns of a queue at least, for others
STEP_SECONDS = 0.5  # between two looks whether this process is stopping


class Isolation:
    """The turns of suspects in a process.

    A turn shuts the gate, waits until all that this process holds has ended, works on a few suspects, and opens the
    gate. Whatever the load, suspects have their turn, and so have all others after it. One queue of a process has its
    turn at a time; other processes go on meanwhile, since they do not meet what this one has reserved.
    """

    def __init__(
        self, context: WorkerContext, gate: Gate, stopping: threading.Event, silence: Silence
    ) -> None:
        self._context, self._gate, self._stopping = context, gate, stopping
        self._silence = silence  # of the database
        self._due: dict[PassKind, float] = {}
        self._left: set[PassKind] = set()  # queues that had suspects at the last look

    def take_turn(
        self,
        kind: PassKind,
        model: str,
        work: Callable[[Claim], Future[None]],
        touch: Callable[[], None],
    ) -> bool:
        """Work on the suspects of a queue, if there are any and it is time; say whether the gate was shut meanwhile.

        ``work`` starts on a claim and lets it leave the gate; ``touch`` is called again and again meanwhile.
        """
        if time.monotonic() < self._due.get(kind, 0.0) or self._gate.is_shut:
            return False
        try:
            with self._context.database.read() as session:
                found = has_suspects(session, kind, model=model)
            (self._left.add if found else self._left.discard)(kind)
            if not found or not self._gate.shut():
                return False
            try:
                for _ in range(IN_A_ROW):
                    if not self._work_on_one(kind, model, work, touch):
                        break
            finally:
                if not self._stopping.is_set():  # else nobody may come in any more
                    self._gate.open()
        except SQLAlchemyError as error:
            self._silence.met("no suspect could be looked for", error)
        finally:
            self._due[kind] = time.monotonic() + LOOK_SECONDS
        return kind in self._left

    def seconds_to_next_turn(self, kind: PassKind) -> float:
        """Return how long a queue may rest: without end where no suspects were left."""
        if kind not in self._left:
            return math.inf
        return LOOK_SECONDS if self._gate.is_shut else max(0.0, self._due[kind] - time.monotonic())

    def _work_on_one(
        self,
        kind: PassKind,
        model: str,
        work: Callable[[Claim], Future[None]],
        touch: Callable[[], None],
    ) -> bool:
        """Work on the most urgent suspect; False when there is none, or this process is stopping."""
        with self._context.database.write() as session:
            found = reserve_suspect(session, kind, model=model, seconds=self._lease_seconds)
        if found is None or not self._wait_for_others(found, touch):
            return False
        claim = self._claim(found)
        if claim is None:
            return True
        with about(**ids_of(claim)):
            logger.warning(
                "%s pass %s was held by %d workers that died: this one works on nothing else meanwhile",
                *(kind, found.pass_id, found.crashes),
            )
        done = work(claim)
        while not wait([done], STEP_SECONDS).done:
            touch()
            if self._stopping.is_set():
                return False
        return True

    def _wait_for_others(self, found: Reserved, touch: Callable[[], None]) -> bool:
        """Let end what this process holds, however long it takes; False when the process is stopping."""
        renew_at = time.monotonic() + self._lease_seconds / 4
        while not self._gate.is_empty_within(STEP_SECONDS) and not self._stopping.is_set():
            touch()
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + self._lease_seconds / 4
                self._keep(found, self._lease_seconds)
        if self._stopping.is_set():
            self._keep(found, 0.0)
            return False
        return True

    def _claim(self, found: Reserved) -> Claim | None:
        self._gate.let_in()  # before the claim: a process that drains must not take itself for idle
        try:
            with self._context.database.write() as session:
                claim = claim_suspect(session, found, self._context.name, lease_seconds=self._lease_seconds)
        except SQLAlchemyError:
            self._gate.leave()
            raise
        if claim is None:
            self._gate.leave()
        return claim

    def _keep(self, found: Reserved, seconds: float) -> None:
        with self._context.database.write() as session:
            keep_reserved(session, found, seconds)

    @property
    def _lease_seconds(self) -> float:
        return self._context.settings.lease_seconds
