"""Renew the leases of everything that this process works on, from one thread, and tell the work when one is lost."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from db.claims import Claim, LeaseLost, find_lost, renew_leases
from db.database import Database

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5  # between two looks whether a cancel has taken a pass from us


class WorkerStopping(Exception):
    """The worker is shutting down: give the pass back."""

    code = "worker_stopping"
    retryable = True


class Lease:
    """One claim as its work sees it."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self._lost = threading.Event()
        self._stopping = threading.Event()

    def check(self) -> None:
        """Raise ``LeaseLost`` or ``WorkerStopping`` when the work should end; call it between steps."""
        if self._lost.is_set():
            raise LeaseLost(f"pass {self.claim.pass_id}: another worker has taken it over")
        if self._stopping.is_set():
            raise WorkerStopping(f"pass {self.claim.pass_id}: this worker is stopping")

    def lose(self) -> None:
        """Mark the lease as lost."""
        self._lost.set()

    def stop(self) -> None:
        """Ask the work to give the pass back."""
        self._stopping.set()


class LeaseKeeper:
    """Hold the leases of a process, renew them every quarter of their length, and look twice a second for lost ones.

    A cancel takes the pass from its worker, which is told at the next look. When the database does not answer, the
    leases run out there and others take the work over; the epoch keeps what this process still does from counting.
    """

    def __init__(self, database: Database, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._held: dict[tuple[str, int], Lease] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)
        self._thread.start()

    @contextmanager
    def holding(self, claim: Claim) -> Iterator[Lease]:
        """Renew the claim's lease while the block runs."""
        key, lease = (claim.pass_id, claim.epoch), Lease(claim)
        with self._lock:
            self._held[key] = lease
            if self._stopping:
                lease.stop()
        try:
            yield lease
        finally:
            with self._lock:
                del self._held[key]

    def stop_work(self) -> None:
        """Ask all work, also such as begins later, to give its pass back."""
        with self._lock:
            self._stopping = True
        for lease in self.held():
            lease.stop()

    def close(self) -> None:
        """Stop renewing."""
        self._ended.set()
        self._thread.join(timeout=5.0)

    def held(self) -> list[Lease]:
        """Return the leases that are held now."""
        with self._lock:
            return list(self._held.values())

    def _run(self) -> None:
        renew_at = time.monotonic() + self._lease_seconds / 4
        while not self._ended.wait(min(LOOK_SECONDS, self._lease_seconds / 4)):
            leases = {(one.claim.pass_id, one.claim.epoch): one for one in self.held()}
            is_due = time.monotonic() >= renew_at
            if is_due:
                renew_at = time.monotonic() + self._lease_seconds / 4
            if not leases:
                continue
            try:
                lost = self._find_lost([one.claim for one in leases.values()], renew=is_due)
            except SQLAlchemyError as error:
                logger.warning("leases could not be %s: %s", "renewed" if is_due else "looked at", error)
                continue
            for claim in lost:
                leases[claim.pass_id, claim.epoch].lose()

    def _find_lost(self, claims: list[Claim], *, renew: bool) -> list[Claim]:
        if renew:
            with self._database.write() as session:
                return renew_leases(session, claims, self._lease_seconds)
        with self._database.read() as session:
            return find_lost(session, claims)
