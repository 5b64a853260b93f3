"""Count what a process has done, as flat numbers: the one place that names what stands in ``workers.numbers``.

``done_KIND``, ``failed_KIND``, ``dropped_KIND`` and ``released_KIND`` are passes since the start, ``crashes_found`` the
expired leases that this process took back, ``rate_KIND`` passes a minute over the last five minutes; ``engine_NAME`` is
what the engine counts under that name (``qwen_audio.metrics``).
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

ENGINE_PREFIX = "engine_"
WINDOW_SECONDS = 300.0


class Numbers:
    """The counts of one process; safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._counts: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def add(self, name: str, count: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[name] += count

    def add_done(self, kind: str) -> None:
        """Count a pass that was completed."""
        with self._lock:
            self._counts[f"done_{kind}"] += 1
            self._recent.setdefault(kind, deque(maxlen=100_000)).append(self._clock())

    def read(self) -> dict[str, float]:
        """Return all counts, and how fast passes were completed lately."""
        now = self._clock()
        window = min(WINDOW_SECONDS, max(1.0, now - self._began))
        with self._lock:
            found: dict[str, float] = dict(self._counts)
            for kind, times in self._recent.items():
                while times and times[0] < now - WINDOW_SECONDS:
                    times.popleft()
                found[f"rate_{kind}"] = round(60.0 * len(times) / window, 3)
        return found


def engine_numbers(flat: Mapping[str, object]) -> dict[str, float]:
    """Return every finite number that an engine says of itself (``Metrics.flat``), with our prefix."""
    return {
        f"{ENGINE_PREFIX}{name}": value
        for name, value in flat.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }
