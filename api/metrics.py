"""Declare the metrics and fill them when somebody asks: requests of this process, and the rest from the database.

``DECLARED`` is all there is; a sample of any other name is an error. What workers count comes from their rows in
``workers``, under the worker's name: a process that starts again begins at nought, as Prometheus expects.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from db import queue_depth
from db.database import Database
from db.states import JobState, PassKind, PassState
from db.workers import is_loading, list_workers

logger = logging.getLogger(__name__)

PREFIX = "earwitness_"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


@dataclass(frozen=True)
class Declared:
    """One metric: its kind, its labels, and what it says."""

    kind: Literal["gauge", "counter", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


DECLARED = {
    "up": Declared(
        "gauge", "1 when the database answered this scrape in time, else 0 and only requests are shown."
    ),
    "queue_passes": Declared("gauge", "Open passes.", ("kind", "model", "state")),
    "queue_oldest_seconds": Declared("gauge", "Age of the oldest ready pass.", ("kind", "model")),
    "queue_expired": Declared(
        "gauge", "Leases that ran out and that nobody took back yet.", ("kind", "model")
    ),
    "jobs": Declared("gauge", "Jobs in the database.", ("state",)),
    "failures": Declared("gauge", "Passes in the database that failed for good.", ("kind", "code")),
    "webhooks": Declared("gauge", "Webhooks that fail at the moment, or were disabled.", ("state",)),
    "workers": Declared("gauge", "Worker processes.", ("kind", "alive")),
    "worker_places": Declared("gauge", "Passes that a live worker can hold.", ("worker", "kind")),
    "worker_held": Declared("gauge", "Passes that a live worker holds.", ("worker", "kind")),
    "worker_rests": Declared("gauge", "1 while a live worker rests: see its trouble.", ("worker", "kind")),
    "passes_total": Declared(
        "counter",
        "Passes that a worker ended, by how: done, failed, dropped, released, troubled.",
        ("worker", "kind", "ending"),
    ),
    "crashes_total": Declared(
        "counter",
        "Expired leases that a worker took back, one for each pass that a silent process held.",
        ("worker",),
    ),
    "engine": Declared(
        "gauge", "What the engine of a worker holds or has counted.", ("worker", "model", "what")
    ),
    "requests_total": Declared("counter", "HTTP requests.", ("method", "route", "status")),
    "request_seconds": Declared("histogram", "How long HTTP requests took.", ("method", "route")),
}
"""Every metric by its name behind ``earwitness_``."""


class RequestMetrics:
    """Counts of the requests that this process answered."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._count = Counter(PREFIX + "requests_total", *_described("requests_total"), registry=registry)
        self._seconds = Histogram(
            PREFIX + "request_seconds", *_described("request_seconds"), registry=registry, buckets=BUCKETS
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request."""
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


def _described(name: str) -> tuple[str, tuple[str, ...]]:
    return DECLARED[name].help, DECLARED[name].labels


class ServiceMetrics:
    """All metrics of one API process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second sample for each, which says when it began
        self._registry = CollectorRegistry()
        self.requests = RequestMetrics(self._registry)

    def render(self, found: Iterable[Metric]) -> bytes:
        """Return the requests and what was found in the database, in Prometheus' text format."""
        whole = CollectorRegistry()
        whole.register(_Found(found))
        return generate_latest(self._registry) + generate_latest(whole)


class _Found(Collector):
    """Metrics that were read already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = list(metrics)

    def collect(self) -> Iterator[Metric]:
        """Hand them out."""
        return iter(self._metrics)


class _Families:
    """Collect samples by metric, in the order of their declaration."""

    def __init__(self) -> None:
        self._found: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
        for name, declared in DECLARED.items():
            if declared.kind == "gauge":
                made = GaugeMetricFamily(PREFIX + name, declared.help, labels=declared.labels)
                self._found[name] = made
            elif declared.kind == "counter" and name != "requests_total":
                self._found[name] = CounterMetricFamily(PREFIX + name, declared.help, labels=declared.labels)

    def add(self, name: str, value: float, *labels: str) -> None:
        """Add one sample of a declared metric."""
        self._found[name].add_metric(labels, value)

    def __iter__(self) -> Iterator[Metric]:
        return iter([family for family in self._found.values() if family.samples])


def read_metrics(database: Database) -> Iterable[Metric]:
    """Return what the database tells, or that it does not answer."""
    families = _Families()
    try:
        with database.read() as session:
            _read_queue(session, families)
            _read_workers(session, families)
    except SQLAlchemyError as error:
        return without_database(str(error))
    families.add("up", 1)
    return families


def without_database(why: str) -> Iterable[Metric]:
    """Return that the database does not answer, and say so in the log."""
    logger.warning("metrics without the database, it does not answer: %s", why)
    families = _Families()
    families.add("up", 0)
    return families


def _read_queue(session: Session, families: _Families) -> None:
    depths = queue_depth.list_depths(session)
    # Kinds without open work are 0 rather than absent, so that an alert can tell nothing from no answer.
    quiet = set(PassKind) - {PassKind(depth.kind) for depth in depths}
    for depth in [*depths, *(queue_depth.Depth(kind, "") for kind in sorted(quiet))]:
        families.add("queue_passes", depth.ready, depth.kind, depth.model, PassState.READY)
        families.add("queue_passes", depth.leased, depth.kind, depth.model, PassState.LEASED)
        families.add("queue_expired", depth.expired, depth.kind, depth.model)
        families.add("queue_oldest_seconds", depth.oldest_seconds or 0.0, depth.kind, depth.model)
    jobs = queue_depth.count_jobs(session)
    for job_state in JobState:
        families.add("jobs", jobs.get(job_state, 0), job_state)
    for (kind, code), count in sorted(queue_depth.count_failures(session).items()):
        families.add("failures", count, kind, code)
    for state, count in queue_depth.count_webhooks(session).items():
        families.add("webhooks", count, state)


_ENDINGS = ("done_", "failed_", "dropped_", "released_", "troubled_")


def _read_workers(session: Session, families: _Families) -> None:
    rows = list_workers(session)
    for kind in sorted({"cpu", "gpu", *(worker.kind for worker, _ in rows)}):
        living = [lives for worker, lives in rows if worker.kind == kind]
        families.add("workers", sum(living), kind, "yes")
        families.add("workers", len(living) - sum(living), kind, "no")
    for worker, alive in rows:
        if not alive:
            continue
        families.add("worker_places", worker.places, worker.name, worker.kind)
        families.add("worker_held", worker.held, worker.name, worker.kind)
        rests = worker.trouble is not None and not is_loading(worker.trouble)
        families.add("worker_rests", int(rests), worker.name, worker.kind)
        families.add("crashes_total", worker.numbers.get("crashes_found", 0), worker.name)
        for name, value in sorted(worker.numbers.items()):
            ending, _, rest = name.partition("_")
            if name.startswith(_ENDINGS):
                families.add("passes_total", value, worker.name, rest, ending)
            elif ending == "engine":
                families.add("engine", value, worker.name, worker.model, rest)
