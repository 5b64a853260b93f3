"""Let few dry runs look around at a time: each holds a thread that uploads want too, for up to a minute."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

MOST = 4  # at a time, in one process: half of those threads
MOST_OF_TENANT = 2
RETRY_SECONDS = 10


class TooManyDryRuns(Exception):
    """As many dry runs are under way as may."""

    code = "too_many_dry_runs"
    retryable = True


class DryRunPlaces:
    """The dry runs under way by tenant; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_tenant: Counter[str] = Counter()

    @contextmanager
    def taken(self, tenant: str) -> Iterator[None]:
        """Hold a place while the block runs; raises ``TooManyDryRuns`` where there is none."""
        with self._lock:
            if self._by_tenant[tenant] >= MOST_OF_TENANT or self._by_tenant.total() >= MOST:
                raise TooManyDryRuns("as many dry runs are under way as may: come back when one is done")
            self._by_tenant[tenant] += 1
        try:
            yield
        finally:
            with self._lock:
                self._by_tenant[tenant] -= 1
                self._by_tenant += Counter()  # without those that are at nought
