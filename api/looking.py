"""Look at a part of the service that may hang, without hanging with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

logger = logging.getLogger(__name__)

Look = Callable[[], str | None]


class Looking:
    """Have one look under way at a time, however many ask. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Future[str | None] | None = None

    def ask(self, look: Look, seconds: float) -> str | None:
        """Return what the look finds, that which is under way or a new one; raises ``TimeoutError``."""
        with self._lock:
            if self._found is None or self._found.done():
                self._found = Future()
                # A daemon: a process that ends does not wait for a server that does not answer.
                threading.Thread(target=_look, args=(look, self._found), name="looking", daemon=True).start()
            found = self._found
        return found.result(seconds)


def _look(look: Look, found: Future[str | None]) -> None:
    try:
        found.set_result(look())
    except Exception as error:  # it becomes what was found
        logger.exception("a look failed")
        found.set_result(type(error).__name__)
