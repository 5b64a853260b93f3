"""A worker's row says that it works, not only that it is there."""

from __future__ import annotations

import pytest
from support.servers import wait_until

from db.states import PassKind
from db.tables import Worker
from db.workers import list_workers
from workers import heartbeat as module
from workers.context import WorkerContext
from workers.heartbeat import Heartbeat, Loading
from workers.leases import Lease
from workers.runner import Lane, Runner


def rows(context: WorkerContext) -> list[Worker]:
    with context.database.read() as session:
        return [worker for worker, _ in list_workers(session)]


def nothing(context: WorkerContext, lease: Lease) -> None:
    """Work on nothing."""


@pytest.fixture
def runner(context: WorkerContext) -> Runner:
    lane = Lane(PassKind.UNDERSTAND, 3, nothing, "tiny", device="cpu", numbers=lambda: {"engine_steps": 7})
    return Runner(context, [lane], poll_seconds=0.05)


def test_a_worker_writes_its_row_at_once_and_takes_it_away_in_the_end(
    context: WorkerContext, runner: Runner
) -> None:
    heartbeat = Heartbeat(context, "gpu", beat_seconds=0.1)
    heartbeat.tell_of(runner)
    wait_until(lambda: rows(context), 10, "the row is there")
    (row,) = rows(context)
    assert (row.name, row.kind, row.model, row.device, row.places, row.held) == (
        "w1",
        "gpu",
        "tiny",
        "cpu",
        3,
        0,
    )
    assert row.numbers["engine_steps"] == 7
    wait_until(lambda: rows(context)[0].seen_at > row.seen_at, 10, "it is seen again")
    runner.drain(0.1)
    heartbeat.beat()
    assert rows(context)[0].draining
    runner.stop(0.1)
    heartbeat.close()
    assert rows(context) == []


def test_a_worker_that_looks_for_no_work_is_not_seen(
    context: WorkerContext, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ALIVE_SECONDS", -1.0)  # its feeder was never started, so it has not looked
    heartbeat = Heartbeat(context, "gpu", beat_seconds=0.05)
    heartbeat.tell_of(runner)
    heartbeat.beat()
    assert rows(context) == []
    runner.stop(0.1)
    heartbeat.close()


def test_a_worker_is_seen_while_it_loads_its_model_and_then_works_under_the_same_row(
    context: WorkerContext, runner: Runner
) -> None:
    heartbeat = Heartbeat(context, "gpu", beat_seconds=0.1)
    heartbeat.tell_of(Loading("tiny", 3, "cpu"))
    wait_until(lambda: rows(context), 10, "the row is there")
    (row,) = rows(context)
    assert row.trouble == "loading: the model tiny is being loaded"
    assert (row.kind, row.model, row.device, row.places, row.held) == ("gpu", "tiny", "cpu", 3, 0)
    wait_until(lambda: rows(context)[0].seen_at > row.seen_at, 10, "it is seen again")
    heartbeat.tell_of(runner)
    (working,) = rows(context)
    assert (working.name, working.started_at, working.trouble) == (row.name, row.started_at, None)
    runner.stop(0.1)
    heartbeat.close()
    assert rows(context) == []


def test_a_heartbeat_that_told_nothing_removes_nothing(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []
    monkeypatch.setattr(module, "remove_worker", lambda _, name: removed.append(name))
    Heartbeat(context, "cpu").close()
    assert removed == []
