"""Whoever looks for a job in the log finds also what befell it outside of an attempt."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from support.jobs import claim, facts, plan, submit
from support.lives import PLAN, UNDERSTAND, expire, must, understand
from support.servers import wait_until

from db.claims import hold
from db.setbacks import suspect_from
from db.states import PassState
from db.tables import Job, Pass, RecordingRequest
from settings.logs import configure_logging
from workers import isolation, runner
from workers.context import WorkerContext
from workers.leases import Lease
from workers.reconcile import check_counts, reconcile, repair
from workers.runner import Lane, Runner

Lines = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def lines_of() -> Iterator[Lines]:
    """Return the lines of the log that carry the id of a job, as ``jq`` would choose them."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging("INFO", "json")
    written = io.StringIO()
    root.handlers[0].setStream(written)  # type: ignore[attr-defined]
    yield lambda job_id: [
        line for line in map(json.loads, written.getvalue().splitlines()) if line.get("job") == job_id
    ]
    root.handlers[:], root.level = handlers, level


def the_line(lines: list[dict[str, Any]], words: str) -> dict[str, Any]:
    (line,) = (line for line in lines if words in line["message"])
    return line


def test_a_worker_that_fell_silent_stands_in_the_log_of_the_job(
    context: WorkerContext, lines_of: Lines
) -> None:
    job_id = submit(context.database)
    plan(context.database, must(claim(context.database, PLAN)), facts(1))
    for _ in range(3):
        with context.database.write() as session:
            session.execute(update(Pass).where(Pass.kind == UNDERSTAND).values(not_before=None))
        found = must(claim(context.database, UNDERSTAND))
        expire(context.database, found)
        assert reconcile(context) == 1
    last = the_line(lines_of(job_id), "fell silent, now failed")
    assert (last["pass"], last["kind"], last["epoch"]) == (found.pass_id, "understand", str(found.epoch))
    assert (last["recording"], last["chunk"]) == (found.recording_id, found.chunk_id)


def test_a_suspect_stands_in_the_log_of_its_job(
    context: WorkerContext, lines_of: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "STEP_SECONDS", 0.02)
    job_id = submit(context.database)
    with context.database.write() as session:
        session.execute(update(Pass).values(crashes=suspect_from(PLAN)))

    def work(context: WorkerContext, lease: Lease) -> None:
        with context.database.write() as session:
            hold(session, lease.claim)

    with context.database.read() as session:
        (pass_id,) = session.scalars(select(Pass.id))
    running = Runner(context, [Lane(PLAN, 1, work)], poll_seconds=0.05)
    running.start()
    wait_until(
        lambda: any("nothing else" in line["message"] for line in lines_of(job_id)), 20, "it had its turn"
    )
    running.stop(5.0)
    assert the_line(lines_of(job_id), "works on nothing else")["pass"] == pass_id


def test_work_that_does_not_stop_stands_in_the_log_of_its_job(
    context: WorkerContext, lines_of: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "OVERDUE_SECONDS", 0.1)
    job_id = submit(context.database)
    began, ends = threading.Event(), threading.Event()

    def work(context: WorkerContext, lease: Lease) -> None:
        began.set()
        ends.wait(20)

    running = Runner(context, [Lane(PLAN, 1, work)], poll_seconds=0.05)
    running.start()
    assert began.wait(20)
    running.stop(0.1)
    ends.set()
    assert the_line(lines_of(job_id), "does not stop")["kind"] == "plan"


def test_repairs_stand_in_the_log_of_their_job(context: WorkerContext, lines_of: Lines) -> None:
    idle = submit(context.database)
    with context.database.write() as session:
        session.execute(delete(Pass).where(Pass.state == PassState.READY))
    assert repair(context) == 1
    assert the_line(lines_of(idle), "in nobody's hands")["kind"] == "plan"

    found = must(claim(context.database, PLAN))
    plan(context.database, found, facts(2))
    understand(context.database, must(claim(context.database, UNDERSTAND)))
    with context.database.write() as session:
        session.execute(update(RecordingRequest).values(chunks_done=2))
        session.execute(update(Job).values(recordings_failed=3))
    assert check_counts(context) == 2
    assert the_line(lines_of(idle), "counters of job")["job"] == idle
