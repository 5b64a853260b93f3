"""End a model process whose engine has got stuck, or whose device answers nothing but one error; free of torch."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)

CRASH_CODE = 70  # EX_SOFTWARE: whoever supervises the process starts another
STICKY = ("CUDA error", "AcceleratorError", "device-side assert", "illegal memory access")
MEMORY = ("out of memory", "OutOfMemoryError")


class Counts(Protocol):
    """What an engine counts, as far as the watchdog looks at it."""

    @property
    def steps(self) -> int:
        """Steps since the engine was made."""

    @property
    def live_branches(self) -> int:
        """Branches that grow now."""

    @property
    def waiting_branches(self) -> int:
        """Branches that wait for a place in a step."""


def crash() -> None:
    """End this process at once, with its leases held: they run out, and each pass counts a crash."""
    logging.shutdown()
    os._exit(CRASH_CODE)


def is_sticky(error: BaseException | None) -> bool:
    """Say whether a device will answer everything with this error from now on; short memory passes."""
    while error is not None:
        text = f"{type(error).__name__}: {error}"
        if any(word in text for word in STICKY) and not any(word in text for word in MEMORY):
            return True
        error = error.__cause__ or error.__context__
    return False


class Watchdog:
    """Call ``end`` when an engine has work and makes no step for ``seconds``; ``counts`` returns its counters.

    The leases of such a process are renewed all the while, so that nobody else would ever notice.
    """

    def __init__(
        self,
        counts: Callable[[], Counts],
        seconds: float,
        *,
        end: Callable[[], None] = crash,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counts, self._seconds, self._end, self._now = counts, seconds, end, now
        self._steps = -1
        self._since = now()
        self._ended = threading.Event()

    def look(self) -> bool:
        """Look once, and say whether the engine is stuck; then ``end`` has been called."""
        counts = self._counts()
        is_busy = counts.live_branches > 0 or counts.waiting_branches > 0
        if not is_busy or counts.steps != self._steps:
            self._steps, self._since = counts.steps, self._now()
            return False
        if self._now() - self._since < self._seconds:
            return False
        logger.critical(
            "the engine made no step for %.0f s with %d answers under way: this process ends",
            self._now() - self._since,
            counts.live_branches + counts.waiting_branches,
        )
        self._end()
        return True

    def start(self) -> None:
        """Look again and again in a thread."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(min(self._seconds / 10, 5.0)):
            if self.look():
                return
