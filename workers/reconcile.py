"""Set right what dead processes left: expired leases, unheard doorbells, private folders; every step may repeat."""

from __future__ import annotations

import logging
import random
import shutil
import threading

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from db.claims import JobCancelled, LeaseLost, find_expired
from db.failures import return_expired
from db.states import PassKind, PassState
from db.tables import Pass
from workers.context import WorkerContext
from workers.scratch import lease_of_folder

logger = logging.getLogger(__name__)


def reconcile(context: WorkerContext) -> int:
    """Do one round; return how many expired leases were taken back. Any number of processes may do it at once."""
    taken = take_back_expired(context)
    ring_for_ready(context)
    sweep_scratch(context)
    return taken


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
        logger.warning(
            "%s pass %s: worker %s fell silent, now %s", claim.kind, claim.pass_id, claim.worker, state
        )
        taken += 1
    return taken


def ring_for_ready(context: WorkerContext) -> None:
    """Ring again for work that is ready: a lost message costs no more than this round's pause."""
    with context.database.read() as session:
        rows = session.execute(
            select(Pass.kind, Pass.model, func.count())
            .where(Pass.state == PassState.READY)
            .group_by(Pass.kind, Pass.model)
        ).all()
    for kind, model, count in rows:
        context.doorbell.ring(PassKind(kind), model, count)


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
    """Reconcile again and again in a thread, until closed."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the present round."""
        self._ended.set()
        self._thread.join(timeout=10.0)

    def _run(self) -> None:
        pause = min(self._context.settings.lease_seconds / 6, 10.0)
        while not self._ended.wait(pause * (0.5 + random.random())):  # noqa: S311  # so that processes do not meet
            try:
                reconcile(self._context)
            except (SQLAlchemyError, OSError) as error:
                logger.warning("reconciling failed, the next round tries again: %s", error)
