"""Let a lane rest while its machine or the storage is in trouble or does not answer, and look now and then.

Without it a worker whose disk is full would take pass after pass and give each back, and a storage that is gone for
ten minutes would cost every waiting recording its tries.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 30.0
OUTAGES_IN_A_ROW = 5  # passes whose object did not come, and none that ended well between them


class Rest:
    """What one lane of a process may claim. Safe to share between threads.

    A lane that rests claims one pass at the end of each pause, to see; one that ends well ends the rest.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name, self._clock = name, clock
        self._lock = threading.Lock()
        self._outages = 0
        self._pause = 0.0  # 0: nothing is wrong
        self._until = 0.0
        self._is_looking = False  # a pass was claimed to see
        self._why: str | None = None

    @property
    def why(self) -> str | None:
        """Why the lane rests; None while it works."""
        return self._why

    def most(self, places: int) -> int:
        """Return how many passes may be claimed now: of so many, one or none."""
        with self._lock:
            if not self._pause:
                return places
            if self._clock() < self._until:
                return 0
            self._until, self._is_looking = self._clock() + self._pause, True
            return min(places, 1)

    def seconds_left(self) -> float:
        """Return how long nothing will be claimed."""
        with self._lock:
            return max(0.0, self._until - self._clock()) if self._pause else 0.0

    def trouble(self, why: str) -> None:
        """Begin to rest, or rest longer: the machine, or a storage, is in trouble."""
        with self._lock:
            self._begin(why)

    def outage(self, why: str) -> None:
        """Note a pass whose object did not come from a storage that answers; several in a row, and the lane rests."""
        with self._lock:
            self._outages += 1
            if self._outages >= OUTAGES_IN_A_ROW:
                self._begin(why)

    def well(self) -> None:
        """Note a pass whose end shows that machine and storage are well."""
        with self._lock:
            if self._pause:
                logger.warning("the %s lane works again", self._name)
            self._outages, self._pause, self._why = 0, 0.0, None

    def _begin(self, why: str) -> None:
        if self._pause and not self._is_looking:
            return  # one of those that were under way when the rest began
        self._pause = min(2 * self._pause or FIRST_SECONDS, LONGEST_SECONDS)
        self._until, self._is_looking = self._clock() + self._pause, False
        self._why = why
        logger.error("the %s lane rests for %.0f s: %s", self._name, self._pause, why)
