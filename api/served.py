"""Say which of the models that a job needs have no worker, so that nobody waits without knowing for what."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence

from sqlalchemy.orm import Session

from db.submitting import NewRequest
from db.tables import Request
from db.workers import list_served

REMEMBERED_SECONDS = 2.0
_ASKED = "served_models"  # the key in ``Session.info``


class NoWorker(Exception):
    """A job that would not wait needs a model that no worker serves."""

    code = "no_worker"
    retryable = True


class ServedModels:
    """The models that live workers serve, asked of the database again after a moment; shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._served: frozenset[str] = frozenset()
        self._asked_at = float("-inf")

    def missing(self, session: Session, models: Iterable[str]) -> list[str]:
        """Return those of the models that no live worker serves, in their order, each once."""
        wanted = list(dict.fromkeys(models))
        served = self._known()
        if not all(model in served for model in wanted):  # a worker that came just now is seen at once
            served = self._ask(session)
        return [model for model in wanted if model not in served]

    def _known(self) -> frozenset[str]:
        with self._lock:
            fresh = time.monotonic() - self._asked_at < REMEMBERED_SECONDS
            return self._served if fresh else frozenset()

    def _ask(self, session: Session) -> frozenset[str]:
        known: frozenset[str] | None = session.info.get(_ASKED)
        if known is not None:  # a transaction that stores many jobs asks once
            return known
        session.info[_ASKED] = served = frozenset(list_served(session))
        with self._lock:
            self._served, self._asked_at = served, time.monotonic()
        return served


def warnings_about(
    session: Session, served: ServedModels, requests: Sequence[NewRequest | Request]
) -> list[str]:
    """Return a sentence for each model that requests need and no worker serves: what waits for it, what to do."""
    tasks: dict[str, list[str]] = {}
    for request in requests:
        tasks.setdefault(request.model, []).append(request.task)
    return [
        f"no_worker: no worker serves the model {model!r}, which {', '.join(tasks[model])} waits for: start "
        "one with `earwitness worker --kind gpu` (`--kind chat` for conversations), or `earwitness up`"
        for model in served.missing(session, tasks)
    ]
