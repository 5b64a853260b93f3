"""Be Celery's worker without what it does to a process: its banner, its signals, its words about each ring."""

from __future__ import annotations

import logging
import threading
from typing import Any

from celery.apps.worker import Worker
from celery.worker import state

ABOUT_RINGS = ("celery.worker.strategy", "celery.app.trace")  # two lines for each: more than for all the work


class Listener(Worker):  # type: ignore[misc]  # Celery has no types
    """Celery's worker as a part of our process, whose log and signals are our own.

    Celery's handlers would print a line that is no JSON, and start the process again at SIGHUP, which fails, even
    where ``nohup`` said that it is to be ignored.
    """

    def emit_banner(self) -> None:
        """Print nothing."""

    def install_platform_tweaks(self, worker: Any) -> None:
        """Leave signals to ``workers.process``."""


def quiet_rings(log_level: str) -> None:
    """Let Celery log a ring only where everything is logged."""
    if log_level != "DEBUG":
        for name in ABOUT_RINGS:
            logging.getLogger(name).setLevel(logging.WARNING)


def end_with(stop: threading.Event) -> None:
    """Let Celery end as soon as ``stop`` is set."""

    def tell() -> None:
        stop.wait()
        state.should_stop = 0  # the exit code

    threading.Thread(target=tell, name="stop-celery", daemon=True).start()
