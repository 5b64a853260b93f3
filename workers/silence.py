"""Log a server that does not answer once, and then now and then, instead of at every try of every thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

REMINDER_SECONDS = 30.0


class Silence:
    """What a process says of one server. Safe to share between threads."""

    def __init__(self, server: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._server, self._clock = server, clock
        self._lock = threading.Lock()
        self._began_at: float | None = None
        self._told_at = 0.0

    def met(self, fact: str, error: Exception) -> None:
        """Note a try without an answer; ``fact`` is what came of it."""
        now = self._clock()
        with self._lock:
            if self._began_at is not None and now - self._told_at < REMINDER_SECONDS:
                return
            since = "does not answer"
            if self._began_at is None:
                self._began_at = now
            else:
                since = f"has not answered for {now - self._began_at:.0f} s"
            self._told_at = now
            logger.warning("%s: %s %s (%s)", fact, self._server, since, error)

    def ended(self) -> None:
        """Note an answer."""
        if self._began_at is None:
            return
        with self._lock:
            if self._began_at is not None:
                logger.warning("%s answers again, after %.0f s", self._server, self._clock() - self._began_at)
                self._began_at = None
