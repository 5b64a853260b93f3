"""Say which models have no worker or are being loaded, and which workers rest, so that nobody waits blindly."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from db.submitting import NewRequest
from db.tables import Request
from db.workers import list_loading, list_served, list_troubles

REMEMBERED_SECONDS = 2.0
_ASKED = "live_workers"  # the key in ``Session.info``


class NoWorker(Exception):
    """A job that would not wait needs a model that no worker serves."""

    code = "no_worker"
    retryable = True


@dataclass(frozen=True)
class Workers:
    """What the live workers serve or load, and the kinds of which every one rests, with the code of why."""

    served: frozenset[str] = frozenset()
    loading: frozenset[str] = frozenset()  # of those the ones that nobody hears with yet
    troubles: Mapping[str, str] = field(default_factory=dict)


class ServedModels:
    """What the live workers do, asked of the database again after a moment; shared between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workers = Workers()
        self._asked_at = float("-inf")

    def missing(self, session: Session, models: Iterable[str]) -> list[str]:
        """Return those of the models that no live worker serves or loads, in their order, each once."""
        wanted = list(dict.fromkeys(models))
        workers = self._known()
        # A worker that came just now is seen at once.
        if workers is None or not all(model in workers.served for model in wanted):
            workers = self._ask(session)
        return [model for model in wanted if model not in workers.served]

    def loading(self, session: Session) -> Set[str]:
        """Return the models that live workers load and none serves yet."""
        return (self._known() or self._ask(session)).loading

    def troubles(self, session: Session) -> Mapping[str, str]:
        """Return the kinds of workers of which every live one rests, each with the code of why."""
        return (self._known() or self._ask(session)).troubles

    def _known(self) -> Workers | None:
        with self._lock:
            return self._workers if time.monotonic() - self._asked_at < REMEMBERED_SECONDS else None

    def _ask(self, session: Session) -> Workers:
        known: Workers | None = session.info.get(_ASKED)
        if known is not None:  # a transaction that stores many jobs asks once
            return known
        session.info[_ASKED] = workers = Workers(
            frozenset(list_served(session)), frozenset(list_loading(session)), list_troubles(session)
        )
        with self._lock:
            self._workers, self._asked_at = workers, time.monotonic()
        return workers


def warnings_about(
    session: Session, served: ServedModels, requests: Sequence[NewRequest | Request]
) -> list[str]:
    """Return a sentence for each model that no worker serves, each that is being loaded, and each kind that rests.

    It says what waits, why, and what to do.
    """
    return [*models_missing(session, served, requests), *workers_not_ready(session, served, requests)]


def models_missing(
    session: Session, served: ServedModels, requests: Sequence[NewRequest | Request]
) -> list[str]:
    """Return a sentence for each model that requests need and nobody serves or loads: what waits for it, what to do."""
    tasks = _tasks_by_model(requests)
    return [
        f"no_worker: no worker serves the model {model!r}, which {', '.join(tasks[model])} waits for: start "
        "one with `earwitness worker --kind gpu` (`--kind chat` for conversations), or `earwitness up`"
        for model in served.missing(session, tasks)
    ]


def workers_not_ready(
    session: Session, served: ServedModels, requests: Sequence[NewRequest | Request]
) -> list[str]:
    """Return a sentence for each model that is being loaded, and each kind of worker of which every live one rests.

    Both are over by themselves, so no job is refused for them.
    """
    tasks = _tasks_by_model(requests)
    loading = [
        f"worker_loads: the model {model!r}, which {', '.join(tasks[model])} waits for, is being loaded by a worker, "
        "which hears as soon as that is done"
        for model in tasks
        if model in served.loading(session)
    ]
    return loading + [
        f"worker_rests: every {kind} worker rests ({code}) and goes on by itself when that is over: its operator "
        "sees more with `earwitness workers`"
        for kind, code in sorted(served.troubles(session).items())
    ]


def _tasks_by_model(requests: Sequence[NewRequest | Request]) -> dict[str, list[str]]:
    tasks: dict[str, list[str]] = {}
    for request in requests:
        tasks.setdefault(request.model, []).append(request.task)
    return tasks
