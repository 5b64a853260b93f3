"""Set right what dead processes left: expired leases, unheard doorbells, private folders, work in nobody's hands.

Every step is limited and may be repeated, by several processes at once; one of them leads, to spare the others.
"""

from __future__ import annotations

import logging
import random
import shutil
import threading
import time
from contextlib import suppress

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from db.claims import JobCancelled, LeaseLost
from db.failures import return_expired
from db.fairness import wake_waiting
from db.leading import give_up_lead, take_lead
from db.queue_depth import count_ready
from db.recounting import find_miscounted, find_miscounted_requests, recount, recount_request
from db.repairing import find_idle, find_unended, find_unretired, open_again, retire_again
from db.setbacks import find_expired
from db.states import PassKind, PassState
from db.tables import Pass
from settings.logs import about
from storage.errors import StorageError
from workers.attempt import ids_of
from workers.context import WorkerContext
from workers.housekeeping import Housekeeper
from workers.numbers import Numbers
from workers.scratch import lease_of_folder

logger = logging.getLogger(__name__)

LEADER = "reconciler"
LEAD_PAUSES = 3.0  # rounds for which a leader leads: the next one waits no longer when it dies
REPAIR_PAUSES = 3.0  # a round of repairs for so many rounds
HOUSEKEEPING_PAUSES = 60.0


def reconcile(context: WorkerContext) -> int:
    """Do one round; return how many expired leases were taken back. Any number of processes may do it at once."""
    taken = take_back_expired(context)
    ring_for_ready(context)
    sweep_scratch(context)
    return taken


def repair(context: WorkerContext) -> int:
    """Open again what is in nobody's hands, end what is over, and retire what should be gone; count the repairs."""
    with context.database.read() as session:
        idle = find_idle(session)
        unended = find_unended(session)
        unretired = find_unretired(session)
    repaired = 0
    for one in idle:
        with context.database.write() as session:
            opened = open_again(session, one)
        if opened:
            with about(job=one.job_id, kind=one.kind):
                logger.error(
                    "%s %s of job %s was in nobody's hands: opened again", one.kind, one.id, one.job_id
                )
        repaired += opened
    for job_id in unended:
        with context.database.write() as session:
            recount(session, job_id)
        with about(job=job_id):
            logger.error("job %s was over and had not ended: counted again", job_id)
        repaired += 1
    for job_id in unretired:
        with context.database.write() as session:
            repaired += retire_again(session, job_id)
    return repaired


def check_counts(context: WorkerContext) -> int:
    """Compare counters with the rows that they count, and set right what differs; count the repairs."""
    with context.database.read() as session:
        jobs = find_miscounted(session)
        requests = find_miscounted_requests(session)
    repaired = 0
    for job_id in jobs:
        with context.database.write() as session:
            wrong = recount(session, job_id)
        if wrong:
            with about(job=job_id):
                logger.error("the counters of job %s were wrong and are repaired: %s", job_id, wrong)
            repaired += 1
    for recording_id, request_id in requests:
        with context.database.write() as session:
            counts = recount_request(session, recording_id, request_id)
        if counts is not None:
            with about(recording=recording_id):
                logger.error(
                    "recording %s, request %s: %s chunks were counted, %s are there",
                    recording_id,
                    request_id,
                    *counts,
                )
            repaired += 1
    return repaired


def take_back_expired(context: WorkerContext) -> int:
    """Return the passes of silent workers to the queue, each in its own transaction."""
    with context.database.read() as session:
        claims = find_expired(session)
    taken = 0
    for claim in claims:
        try:
            with context.database.write() as session:
                state = return_expired(session, claim, jitter=random.random())  # noqa: S311  # spreads retries
        except (LeaseLost, JobCancelled):
            continue  # its worker came back, or another process was first
        with about(**ids_of(claim)):
            logger.warning(
                "%s pass %s: worker %s fell silent, now %s", claim.kind, claim.pass_id, claim.worker, state
            )
        taken += 1
    return taken


def ring_for_ready(context: WorkerContext) -> None:
    """Ring again for work that is ready: a lost message costs no more than this round's pause."""
    with context.database.write() as session:
        wake_waiting(session)
    with context.database.read() as session:
        ready = count_ready(session)
    for (kind, model), count in ready.items():
        # The queues of webhooks are one to Celery: any worker delivers to any of them.
        context.doorbell.ring(PassKind(kind), "" if kind == PassKind.DELIVER else model, count)


def sweep_scratch(context: WorkerContext) -> None:
    """Remove private folders whose lease is over."""
    folders = {folder: lease_of_folder(folder) for folder in context.scratch_dir.iterdir() if folder.is_dir()}
    with context.database.read() as session:
        for folder, lease in folders.items():
            if lease is None:
                continue
            pass_id, epoch = lease
            alive = session.scalar(
                select(Pass.id).where(Pass.id == pass_id, Pass.epoch == epoch, Pass.state == PassState.LEASED)
            )
            if alive is None:
                shutil.rmtree(folder, ignore_errors=True)


class Reconciler:
    """Reconcile again and again in a thread, until closed; what one process can do for all, the leader does."""

    def __init__(self, context: WorkerContext, numbers: Numbers | None = None) -> None:
        self._context, self._numbers = context, numbers or Numbers()
        self._housekeeper = Housekeeper(context)
        self._pause = min(context.settings.lease_seconds / 6, 10.0)
        self._due = dict.fromkeys((self._repair, self._keep_house), 0.0)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the present round, and let another process lead."""
        self._ended.set()
        self._thread.join(timeout=10.0)
        # A database that does not answer ends the lead by itself, when its time has run out.
        with suppress(SQLAlchemyError), self._context.database.write() as session:
            give_up_lead(session, LEADER, self._context.name)

    def round(self) -> bool:
        """Do what is due, and say whether we lead."""
        sweep_scratch(self._context)  # each machine has folders of its own
        with self._context.database.write() as session:
            if not take_lead(session, LEADER, self._context.name, max(LEAD_PAUSES * self._pause, 2.0)):
                return False
        self._numbers.add("crashes_found", take_back_expired(self._context))
        ring_for_ready(self._context)
        for step, due_at in self._due.items():
            if time.monotonic() >= due_at:
                step()
        return True

    def _repair(self) -> None:
        self._due[self._repair] = time.monotonic() + REPAIR_PAUSES * self._pause
        repair(self._context)

    def _keep_house(self) -> None:
        self._due[self._keep_house] = time.monotonic() + HOUSEKEEPING_PAUSES * self._pause
        check_counts(self._context)
        self._housekeeper.round()

    def _run(self) -> None:
        while not self._ended.wait(self._pause * (0.5 + random.random())):  # noqa: S311  # so that processes do not meet
            try:
                self.round()
            except (SQLAlchemyError, StorageError, OSError) as error:
                logger.warning("reconciling failed, the next round tries again: %s", error)
