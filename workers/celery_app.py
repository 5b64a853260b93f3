"""Configure Celery as a doorbell: early acknowledgement, no results, no ETA, no remote control, JSON only."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from celery import Celery
from kombu import Queue

from db.states import PassKind
from workers.queues import queue_name

RING = "earwitness.ring"
OnRing = Callable[[PassKind], None]


def make_app(broker_url: str, on_ring: OnRing | None = None) -> Celery:
    """Return a Celery app; ``on_ring`` is what a worker does when a message arrives, None for a mere sender.

    A message carries the kind of work and nothing else: whoever can write to the broker can wake a worker, and
    no more. What the worker does it reads from the database.
    """
    app = Celery("earwitness", broker=broker_url, set_as_current=False)
    app.conf.update(
        result_backend=None,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,  # the message may be lost; the row may not
        worker_prefetch_multiplier=1,
        worker_eta_task_limit=100,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        task_create_missing_queues=False,
        task_queues=[Queue("earwitness.idle")],
        task_default_queue="earwitness.idle",
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 900,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": not broker_url.startswith("redis+socket"),
            "health_check_interval": 25,
            "retry_on_timeout": True,
            "global_keyprefix": "earwitness:",
        },
    )
    if on_ring is not None:
        _register(app, on_ring)
    return app


def _register(app: Celery, on_ring: OnRing) -> None:
    @app.task(name=RING, ignore_result=True)  # type: ignore[untyped-decorator]  # Celery has no types
    def ring(kind: Any) -> None:
        if isinstance(kind, str) and kind in set(PassKind):  # anybody's message: anything else is dropped
            on_ring(PassKind(kind))


def send_ring(app: Celery, kind: PassKind, model: str = "") -> None:
    """Publish one ring; raises what the broker raises, at once and without retries."""
    app.send_task(RING, args=(str(kind),), queue=Queue(queue_name(kind, model)), retry=False, expires=900)


def serve(
    app: Celery, queues: Sequence[str], concurrency: int, log_level: str, stop: threading.Event
) -> None:
    """Consume until ``stop`` is set, in the calling thread, with Celery's threads pool.

    Celery itself waits for its threads without end, and they end when what they work on has ended or was given back.
    """
    from workers.listener import Listener, end_with, quiet_rings  # Celery's worker: a mere sender needs none

    app.Worker = app.subclass_with_self(Listener)
    end_with(stop)
    quiet_rings(log_level)
    app.conf.task_queues = [Queue(name) for name in queues]
    app.worker_main(
        [
            "worker",
            "--pool=threads",
            f"--concurrency={concurrency}",
            f"--queues={','.join(queues)}",
            f"--loglevel={log_level}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )
