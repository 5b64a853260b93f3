"""Write this process's row in ``workers`` every few seconds, from a thread of its own, and take it away in the end.

A row says more than that the process is there: it is renewed only while the process also looks for work. One that
hangs stops being seen, as one that was killed does.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from db.workers import ALIVE_SECONDS, WorkerReport, remove_worker, report_worker
from workers.context import WorkerContext
from workers.runner import Runner

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0


class Heartbeat:
    """Beat until closed; a database that does not answer is asked again at the next beat."""

    def __init__(
        self, context: WorkerContext, kind: str, runner: Runner, *, beat_seconds: float = BEAT_SECONDS
    ) -> None:
        self._context, self._kind, self._runner = context, kind, runner
        self._beat_seconds = beat_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop beating and remove the row: this process ends in its own way."""
        self._ended.set()
        self._thread.join(timeout=5.0)
        self._guarded(self._remove)

    def _run(self) -> None:
        self.beat()
        while not self._ended.wait(self._beat_seconds):
            self.beat()

    def beat(self) -> None:
        """Write the row now, unless this process hangs."""
        silent = self._runner.seconds_since_look()
        if silent > ALIVE_SECONDS and not self._runner.draining:
            logger.error("no work was looked for in %.0f s: this process hangs and counts as dead", silent)
            return
        self._guarded(self._report)

    def _report(self) -> None:
        report = report_of(self._context, self._kind, self._runner)
        with self._context.database.write() as session:
            report_worker(session, report)

    def _remove(self) -> None:
        with self._context.database.write() as session:
            remove_worker(session, self._context.name)

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SQLAlchemyError as error:
            logger.warning("this worker's row could not be written: %s", error)


def report_of(context: WorkerContext, kind: str, runner: Runner) -> WorkerReport:
    """Return what a process says of itself now."""
    models = [lane.model for lane in runner.lanes if lane.model]
    devices = [lane.device for lane in runner.lanes if lane.device]
    return WorkerReport(
        name=context.name,
        kind=kind,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=devices[0] if devices else None,
        model=models[0] if models else "",
        places=sum(lane.places for lane in runner.lanes),
        held=runner.held,
        draining=runner.draining,
        trouble=runner.trouble,
        numbers=runner.numbers(),
    )
