"""Run a worker process: under Celery when a broker is set, else by polling; end well on SIGTERM."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from functools import partial

from db.database import DatabaseUnavailable
from db.states import PassKind
from db.upgrade import SchemaOutdated
from settings import InvalidSettings, Settings, load_settings
from settings.logs import configure_logging, say_last
from workers.celery_app import make_app, serve
from workers.context import WorkerContext, open_context
from workers.heartbeat import Heartbeat, Loading
from workers.queues import queue_name
from workers.reconcile import Reconciler
from workers.runner import Lane, Runner

logger = logging.getLogger(__name__)

FAREWELL_SECONDS = 2.0  # that the database has to take a row away
CELERY_SECONDS = 3.0  # that Celery has to end once nothing is worked on
BROKER_POLL_SECONDS = 5.0  # with doorbells, polling only covers those that were lost


def run_worker(
    role: str,
    open_lanes: Callable[[WorkerContext], Sequence[Lane]],
    *,
    loads: Callable[[Settings], str] | None = None,
) -> int:
    """Run until SIGTERM, SIGINT or SIGHUP and return the exit code: 2 when the settings or the database are not usable.

    ``loads`` names the model that ``open_lanes`` loads: the process is seen meanwhile, and as one that loads.
    """
    try:
        _run(role, open_lanes, loads)
    except (InvalidSettings, DatabaseUnavailable, SchemaOutdated) as error:
        say_last(f"{role} worker: {error}")
        return 2
    return 0


def _run(
    role: str,
    open_lanes: Callable[[WorkerContext], Sequence[Lane]],
    loads: Callable[[Settings], str] | None,
) -> None:
    settings = load_settings()
    configure_logging(settings.log_level, settings.log)
    context = open_context(settings, role)
    heartbeat = Heartbeat(context, role)
    try:
        if loads is not None:
            _end_on_signals(heartbeat)
            heartbeat.tell_of(Loading(loads(settings), settings.places, settings.device))
        _work(context, heartbeat, open_lanes(context))
    finally:
        heartbeat.close()
        context.close()


def _work(context: WorkerContext, heartbeat: Heartbeat, lanes: Sequence[Lane]) -> None:
    settings = context.settings
    poll_seconds = (
        settings.poll_seconds if settings.embedded else max(BROKER_POLL_SECONDS, settings.poll_seconds)
    )
    stop = stop_on_signals()  # before anything is claimed
    leave = partial(leave_with, heartbeat)
    runner = Runner(context, lanes, poll_seconds=poll_seconds, overdue=leave)
    reconciler = Reconciler(context, runner.counts)
    runner.start()
    heartbeat.tell_of(runner)
    logger.info("%s is ready: %s", context.name, ", ".join(f"{lane.kind} x {lane.places}" for lane in lanes))
    try:
        if settings.embedded:
            stop.wait()
        else:
            _consume(settings, runner, lanes, stop, leave)
    finally:
        logger.info("%s is stopping", context.name)
        runner.drain(settings.drain_seconds)
        heartbeat.beat()
        runner.stop(settings.drain_seconds)
        reconciler.close()


def _consume(
    settings: Settings,
    runner: Runner,
    lanes: Sequence[Lane],
    stop: threading.Event,
    leave: Callable[[], None],
) -> None:
    """Consume rings until ``stop`` is set."""

    def on_ring(kind: PassKind) -> None:
        # The engine's feeder takes as many passes as it has places; a Celery thread would only wait with it.
        if kind == PassKind.UNDERSTAND:
            runner.wake(kind)
        else:
            runner.work_one(kind)

    served = threading.Event()

    def end_when_asked() -> None:
        stop.wait()
        runner.stop(settings.drain_seconds)
        # Celery may not have heard of it, or wait for a broker that is gone: there is nothing left to wait for.
        if not served.wait(CELERY_SECONDS):
            leave()

    threading.Thread(target=end_when_asked, name="end", daemon=True).start()
    queues = [queue_name(lane.kind, lane.model) for lane in lanes]
    app = make_app(settings.broker_url, on_ring)
    serve(app, queues, sum(lane.places for lane in lanes), settings.log_level, stop)
    served.set()


def leave_with(heartbeat: Heartbeat) -> None:
    """End this process although threads of it go on: what they worked on has been given back, and its row goes."""
    logger.warning("not everything in this process ends: it ends without that")
    farewell = threading.Thread(target=heartbeat.close, name="farewell", daemon=True)
    farewell.start()
    farewell.join(FAREWELL_SECONDS)  # the database may be what does not answer
    logging.shutdown()
    os._exit(0)


def _end_on_signals(heartbeat: Heartbeat) -> None:
    """Let signals that ask for it end this process at once, and take its row away: it holds nothing yet."""

    def end(*_: object) -> None:
        heartbeat.close()
        os._exit(0)  # an exception could be lost in whatever library loads just now

    for number in ending_signals():
        signal.signal(number, end)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM, SIGINT and SIGHUP set."""
    stop = threading.Event()
    for number in ending_signals():
        signal.signal(number, lambda *_: stop.set())
    return stop


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask a worker to end: that of a lost terminal too, unless ``nohup`` says otherwise."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [signal.SIGTERM, signal.SIGINT, *([] if outlives_terminal else [signal.SIGHUP])]
