"""Know which idempotency keys this process is answering at the moment."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from db.idempotency import KeyInFlight


class InFlight:
    """The (tenant, key) pairs under way; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[tuple[str, str]] = set()

    @contextmanager
    def alone(self, tenant: str, key: str) -> Iterator[None]:
        """Hold a key while the block runs; raises ``KeyInFlight`` when somebody does."""
        pair = (tenant, key)
        with self._lock:
            if pair in self._held:
                raise KeyInFlight(f"a request with the idempotency key {key!r} is under way")
            self._held.add(pair)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(pair)
