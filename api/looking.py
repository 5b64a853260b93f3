"""Look at a part of the service that may hang, without hanging with it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

Found = TypeVar("Found")


class Looking:
    """Have one look at each part under way at a time, however many ask.

    A look has a thread of its own, so that it needs none of those that work on requests: all of them may hang.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, Future[Any]] = {}

    async def ask(self, part: str, look: Callable[[], Found], seconds: float) -> Found:
        """Return what the look under way, or a new one, finds; raises ``TimeoutError``, or what the look raised."""
        with self._lock:
            found = self._found.get(part)
            if found is None or found.done():
                found = self._found[part] = Future()
                # A daemon: a process that ends does not wait for a server that does not answer.
                threading.Thread(target=_look, args=(look, found), name=f"look-{part}", daemon=True).start()
        answer: Found = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(found)), seconds)
        return answer


def _look(look: Callable[[], Found], found: Future[Found]) -> None:
    try:
        found.set_result(look())
    except Exception as error:  # it becomes what was found
        logger.exception("a look failed")
        found.set_exception(error)
