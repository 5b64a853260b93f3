"""Write this process's row in ``workers`` every few seconds, from a thread of its own, and take it away in the end.

A row says more than that the process is there: it is renewed only while the process also looks for work, or loads its
model before it does. One that hangs stops being seen, as one that was killed does.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from db.workers import ALIVE_SECONDS, LOADING, WorkerReport, remove_worker, report_worker
from workers.context import WorkerContext
from workers.runner import Runner

logger = logging.getLogger(__name__)

BEAT_SECONDS = 5.0


@dataclass(frozen=True)
class Loading:
    """What a process says while its model is being loaded, which may take minutes."""

    model: str
    places: int
    device: str


class Heartbeat:
    """Beat from the first ``tell_of`` on until closed.

    A database that does not answer is asked again at the next beat.
    """

    def __init__(self, context: WorkerContext, kind: str, *, beat_seconds: float = BEAT_SECONDS) -> None:
        self._context, self._kind = context, kind
        self._beat_seconds = beat_seconds
        self._about: Runner | Loading | None = None
        self._turn = threading.Lock()  # so that no beat writes what was told before the last one
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def tell_of(self, about: Runner | Loading) -> None:
        """Say what this process does, now and at every beat."""
        is_first, self._about = self._about is None, about
        if is_first:
            self._thread.start()
        else:
            self.beat()

    def close(self) -> None:
        """Stop beating and remove the row: this process ends in its own way."""
        if self._about is None:
            return
        self._ended.set()
        self._thread.join(timeout=5.0)
        self._guarded(self._remove)

    def _run(self) -> None:
        self.beat()
        while not self._ended.wait(self._beat_seconds):
            self.beat()

    def beat(self) -> None:
        """Write the row now, unless this process hangs."""
        with self._turn:
            about = self._about
            if isinstance(about, Runner) and not about.draining:
                silent = about.seconds_since_look()
                if silent > ALIVE_SECONDS:
                    logger.error(
                        "no work was looked for in %.0f s: this process hangs and counts as dead", silent
                    )
                    return
            if about is not None:
                self._guarded(partial(self._report, about))

    def _report(self, about: Runner | Loading) -> None:
        report = report_of(self._context, self._kind, about)
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


def report_of(context: WorkerContext, kind: str, about: Runner | Loading) -> WorkerReport:
    """Return what a process says of itself now."""
    is_of = WorkerReport(context.name, kind, socket.gethostname(), os.getpid())
    if isinstance(about, Loading):
        trouble = f"{LOADING}: the model {about.model} is being loaded"
        return replace(is_of, **vars(about), trouble=trouble)
    runner = about
    models = [lane.model for lane in runner.lanes if lane.model]
    devices = [lane.device for lane in runner.lanes if lane.device]
    return replace(
        is_of,
        device=devices[0] if devices else None,
        model=models[0] if models else "",
        places=sum(lane.places for lane in runner.lanes),
        held=runner.held,
        draining=runner.draining,
        trouble=runner.trouble,
        numbers=runner.numbers(),
    )
