"""The queries that run all day follow their indexes, whatever has been finished before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Session
from support.jobs import submit

from bench.databases import add_job, add_passes, analyze
from db import queries
from db.claiming import claim_passes, is_due
from db.database import Database
from db.fairness import Flow, find_place, wake_waiting
from db.setbacks import find_expired
from db.states import PassKind, PassState
from db.suspects import has_suspects, reserve_suspect
from db.waiting import count_waiting

FINISHED = 30_000
NOBODY = "0198f0a1-7c5e-7000-8000-000000000001"
WALKS = r"Seq Scan on (passes|jobs|job_recordings)|SCAN (passes|jobs|job_recordings)(?! USING)"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def full(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Database, str]]:
    """A database with far more finished work than work that is ready, and a job in it."""
    ends: Any = None
    if request.param == "sqlite":
        path = tmp_path_factory.mktemp("plans") / "earwitness.db"
        path.write_bytes(request.getfixturevalue("sqlite_file").read_bytes())
        url = f"sqlite:///{path}"
    else:
        server = request.getfixturevalue("postgres")
        ends = server.fresh()
        url = server.sqlalchemy_url(ends.__enter__())
    database = Database(url)
    old = add_job(database, "succeeded", "crowd")
    add_passes(database, old, FINISHED, tenant="crowd")
    for _ in range(300):
        add_job(database, "succeeded", "crowd")
    add_passes(database, add_job(database, tenant="crowd"), 8_000, state="ready", tenant="crowd")
    job_id = submit(database, uris=tuple(f"s3://b/{number}" for number in range(40)))
    analyze(database)
    yield database, job_id
    database.close()
    if ends is not None:
        ends.__exit__(None, None, None)


@contextmanager
def captured(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Note every statement, with its values, as it goes to the database."""
    seen: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        seen.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def plans(database: Database, run: Callable[[Session], object]) -> str:
    """Run queries and return the plans that the database has for them, with the same values."""
    with captured(database) as seen, database.write() as session:
        run(session)
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    shown = []
    with database.write() as session:
        connection = session.connection()
        for statement, parameters in list(seen):
            rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
            shown += [str(row[-1]).strip() for row in rows]
    assert shown
    return "\n".join(shown)


def claim(session: Session) -> object:
    return claim_passes(session, PassKind.PLAN, "w", lease_seconds=30, limit=4)


def test_the_claim_follows_the_index_over_ready_rows_and_sorts_nothing(full: tuple[Database, str]) -> None:
    database, _ = full
    plan = plans(database, claim)
    assert "ix_passes_ready" in plan
    assert not re.search(WALKS, plan), plan
    assert "Sort" not in plan, plan
    assert "TEMP B-TREE" not in plan, plan


def test_a_claim_that_skips_a_cancelled_job_follows_it_too(full: tuple[Database, str]) -> None:
    from db.claiming import _take

    database, _ = full
    plan = plans(
        database, lambda session: _take(session, PassKind.PLAN, "", "w", 30.0, 4, skip_cancelled=True)
    )
    assert "ix_passes_ready" in plan
    assert not re.search(WALKS, plan), plan
    assert "TEMP B-TREE" not in plan, plan


@pytest.mark.parametrize(
    ("run", "indexes"),
    [
        (find_expired, ["ix_passes_leased"]),
        (wake_waiting, ["ix_passes_waiting"]),
        (lambda session: is_due(session, PassKind.PLAN), ["ix_passes_ready", "ix_passes_waiting"]),
        (lambda session: is_due(session, PassKind.DELIVER), ["ix_passes_ready", "ix_passes_waiting"]),
        (lambda session: has_suspects(session, PassKind.PLAN), ["ix_passes_suspect"]),
        (lambda session: reserve_suspect(session, PassKind.PLAN, seconds=0), ["ix_passes_suspect"]),
        (lambda session: has_suspects(session, PassKind.DELIVER), ["ix_passes_suspect"]),
        (
            lambda session: find_place(session, Flow("default", NOBODY, "plan", "", 0)),
            ["ix_passes_ready", "ix_passes_flow", "ix_passes_job"],
        ),
        (lambda session: count_waiting(session, "default"), ["ix_jobs_unfinished|ix_jobs_state"]),
        (lambda session: count_waiting(session, None), ["ix_jobs_unfinished|ix_jobs_state"]),
        (lambda session: queries.list_jobs(session, "default"), ["ix_jobs_tenant_id"]),
    ],
    ids=[
        "expired leases",
        "waiting passes",
        "whether a claim might find something",
        "whether a delivery is due",
        "whether there are suspects",
        "the next suspect",
        "suspect deliveries",
        "a place in the queue",
        "waiting of a tenant",
        "waiting of all",
        "jobs",
    ],
)
def test_what_runs_all_day_walks_over_no_finished_work(
    full: tuple[Database, str], run: Any, indexes: list[str]
) -> None:
    database, _ = full
    plan = plans(database, run)
    assert not re.search(WALKS, plan), plan
    for index in indexes:
        assert re.search(index, plan), plan


def test_reading_a_job_and_what_failed_of_it_walks_over_no_other_job(full: tuple[Database, str]) -> None:
    database, job_id = full

    def read(session: Session) -> None:
        job = queries.get_job(session, "default", job_id)
        queries.list_requests(session, "default", job_id)
        queries.job_progress(session, job)
        queries.list_job_recordings(session, "default", job_id, states=["failed", "partial"])

    plan = plans(database, read)
    assert not re.search(r"Seq Scan on (passes|jobs)|SCAN (passes|jobs)(?! USING)", plan), plan


@pytest.mark.parametrize("full", ["postgresql"], indirect=True)  # SQLite does not count what it reads
def test_a_claim_costs_the_same_beside_many_finished_passes(full: tuple[Database, str]) -> None:
    """Count what is touched, not seconds: a busy machine cannot change it."""
    database, _ = full
    with captured(database) as seen, database.write() as session:
        claim(session)
    [taking] = [(one, values) for one, values in seen if "RETURNING" in one and "urgent" in one]
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS) {taking[0]}", taking[1]).all()
        connection.rollback()
    hits = [int(found) for row in rows for found in re.findall(r"shared hit=(\d+)", str(row))]
    assert max(hits) < 300, rows


def test_what_indexes_hold_is_written_out_in_queries() -> None:
    from db.fairness import READY
    from db.suspects import FEW, _ready
    from db.tables import Pass
    from db.tables.work import SUSPECT_NOW

    assert str(READY.compile()) == f"'{PassState.READY}'"
    assert SUSPECT_NOW.endswith(f"crashes >= {FEW.compile()}")
    assert "passes.crashes >= 2" in str(_ready(PassKind.PLAN, "", Pass.id))
