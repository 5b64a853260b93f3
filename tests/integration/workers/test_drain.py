"""SIGTERM to real worker processes: they claim nothing more, and give back what does not end in time."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select
from support.jobs import submit
from support.servers import ROOT, RedisServer, WorkerProcess, free_port, wait_until

from db.claims import hold
from db.database import Database
from db.states import PassState
from db.tables import Leader, Pass
from db.workers import list_workers
from workers import runner as running
from workers.context import WorkerContext
from workers.leases import Lease
from workers.runner import Lane, PassKind, Runner

WORKER = """
import sys, time
from db.states import PassKind
from workers.process import run_worker
from workers.runner import Lane

def work(context, lease):
    print("working", flush=True)
    while True:
        if {polite}:
            lease.check()
        time.sleep(0.02)

sys.exit(run_worker("cpu", lambda context: [Lane(PassKind.PLAN, 1, work)]))
"""


def passes(database: Database) -> list[Pass]:
    with database.read() as session:
        return list(session.scalars(select(Pass).order_by(Pass.id)))


@contextmanager
def inherited_at_hangup(handler: signal.Handlers) -> Iterator[None]:
    """Let processes that are started here have that handler, whatever started the tests."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("broker", "polite", "asked"),
    [
        ("none", True, signal.SIGTERM),
        ("redis", True, signal.SIGTERM),
        ("dead", True, signal.SIGTERM),
        ("none", False, signal.SIGTERM),
        ("none", True, signal.SIGHUP),
        ("redis", True, signal.SIGHUP),
    ],
)
def test_a_worker_that_is_asked_to_stop_gives_back_what_does_not_end(
    sqlite_database: Database,
    redis_server: RedisServer,
    tmp_path: Path,
    broker: str,
    polite: bool,
    asked: signal.Signals,
) -> None:
    brokers = {"none": "", "redis": redis_server.url, "dead": f"redis://127.0.0.1:{free_port()}/0"}
    script = tmp_path / "drained_worker.py"
    script.write_text(WORKER.format(polite=polite))
    environment = {
        "EARWITNESS_DATA_DIR": str(tmp_path),
        "EARWITNESS_DATABASE_URL": f"sqlite:///{sqlite_database.url.database}",
        "EARWITNESS_BROKER_URL": brokers[broker],
        "EARWITNESS_DRAIN_SECONDS": "0.3",
        "EARWITNESS_LOG": "json",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    submit(sqlite_database, uris=("s3://b/1", "s3://b/2"))
    with inherited_at_hangup(signal.SIG_DFL):
        worker = WorkerProcess("drained_worker", environment, tmp_path / "worker.log")
    try:
        worker.wait_for("working")
        assert worker.stop(40.0, asked) == 0, worker.text()
    finally:
        if worker.process.poll() is None:
            worker.kill()
    found = passes(sqlite_database)
    assert [one.state for one in found] == [PassState.READY] * 2, worker.text()
    assert [(one.attempts, one.crashes, one.errors) for one in found] == [(0, 0, 0)] * 2
    said = worker.text().splitlines()
    assert said.count("working") == 1  # nothing was claimed while it drained
    assert all(json.loads(line) for line in said if line != "working")
    with sqlite_database.read() as session:
        assert not list_workers(session)  # it ended in its own way


def test_a_worker_that_is_to_outlive_its_terminal_does(
    sqlite_database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = {
        "EARWITNESS_DATA_DIR": str(tmp_path),
        "EARWITNESS_DATABASE_URL": f"sqlite:///{sqlite_database.url.database}",
        "EARWITNESS_BROKER_URL": redis_server.url,
    }
    with inherited_at_hangup(signal.SIG_IGN):  # what nohup does
        worker = WorkerProcess("workers.cpu", environment, tmp_path / "worker.log")
    try:
        worker.wait_for("celery@")
        worker.process.send_signal(signal.SIGHUP)
        assert worker.stop(40.0) == 0, worker.text()
    finally:
        if worker.process.poll() is None:
            worker.kill()
    assert worker.text().count("is ready") == 1  # it went on, and was not started again


def test_work_that_ends_within_the_grace_is_done(context: WorkerContext) -> None:
    submit(context.database, uris=("s3://b/1", "s3://b/2"))
    started: list[str] = []

    def work(context: WorkerContext, lease: Lease) -> None:
        started.append(lease.claim.pass_id)
        wait_until(lambda: runner._stopping.is_set(), 10, "the drain began")
        with context.database.write() as session:
            hold(session, lease.claim)

    runner = Runner(context, [Lane(PassKind.PLAN, 1, work)], poll_seconds=0.05)
    runner.start()
    wait_until(lambda: started, 10, "work began")
    runner.drain(20.0)
    assert not runner.work_one(PassKind.PLAN)
    runner.stop(20.0)
    assert sorted(one.state for one in passes(context.database)) == [PassState.DONE, PassState.READY]
    assert len(started) == 1


def test_work_that_does_not_listen_is_given_back_for_it_and_cannot_complete(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "OVERDUE_SECONDS", 0.1)
    submit(context.database)
    overdue: list[PassState] = []
    leases: list[Lease] = []

    def deaf(context: WorkerContext, lease: Lease) -> None:
        leases.append(lease)
        wait_until(lambda: overdue, 20, "the runner lost patience")
        with context.database.write() as session:
            hold(session, lease.claim)

    runner = Runner(
        context,
        [Lane(PassKind.PLAN, 1, deaf)],
        poll_seconds=0.05,
        overdue=lambda: overdue.append(PassState(passes(context.database)[0].state)),
    )
    runner.start()
    wait_until(lambda: leases, 10, "work began")
    runner.stop(0.1)
    assert overdue == [PassState.READY]
    wait_until(lambda: runner._gate.is_empty_within(0.0), 10, "the work has ended")
    assert passes(context.database)[0].state == PassState.READY


def test_a_reconciler_that_ends_lets_another_lead(context: WorkerContext) -> None:
    from workers.reconcile import Reconciler

    reconciler = Reconciler(context)
    assert reconciler.round()
    reconciler.close()
    with context.database.read() as session:
        assert session.scalars(select(Leader.holder)).one() == context.name
