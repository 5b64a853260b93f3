"""What operators read: the workers that live, the open work, the failures; cheap however long the history is."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, insert, text, update
from support.jobs import claim, facts, plan, request, submit

from db.claims import Failure
from db.clock import database_now
from db.database import Database
from db.failed_sources import list_failures
from db.failures import fail_pass
from db.queue_depth import count_failures, count_jobs, count_webhooks, list_depths, made_at
from db.states import PassKind, PassState
from db.tables import JobRecording, JobSource, Pass, Worker
from db.types import new_id
from db.workers import ALIVE_SECONDS, FORGET_SECONDS, WorkerReport, list_workers, remove_worker, report_worker


def test_a_worker_has_one_row_that_it_renews(database: Database) -> None:
    for held in (0, 3):
        with database.write() as session:
            report = WorkerReport(
                "h:1:gpu", "gpu", "h", 1, "cuda", "mini", 8, held, numbers={"done_understand": held}
            )
            report_worker(session, report)
    with database.read() as session:
        [(worker, alive)] = list_workers(session)
    assert (worker.held, worker.places, worker.device, worker.numbers, alive) == (
        3,
        8,
        "cuda",
        {"done_understand": 3},
        True,
    )
    assert worker.seen_at > worker.started_at


def test_a_worker_that_is_seen_no_more_is_silent_and_forgotten_after_a_day(database: Database) -> None:
    with database.write() as session:
        for name, silent in (("quiet", ALIVE_SECONDS + 1), ("old", FORGET_SECONDS + 1), ("leaving", 0.0)):
            report_worker(session, WorkerReport(name, "cpu", "h", 1))
            session.execute(update(Worker).where(Worker.name == name).values(seen_at=database_now(-silent)))
    with database.read() as session:
        assert {worker.name: alive for worker, alive in list_workers(session)} == {
            "quiet": False, "old": False, "leaving": True,
        }  # fmt: skip
    with database.write() as session:
        remove_worker(session, "leaving")
    with database.read() as session:
        assert [worker.name for worker, _ in list_workers(session)] == ["quiet"]


def test_open_work_is_counted_by_kind_with_its_age(database: Database) -> None:
    submit(database, uris=("s3://b/a.wav", "s3://b/b.wav", "s3://b/c.wav"))
    found = claim(database, PassKind.PLAN)
    assert found is not None
    plan(database, found, facts(2))
    held = claim(database, PassKind.PLAN)
    assert held is not None
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == held.pass_id).values(lease_until=database_now(-1)))
    with database.read() as session:
        depths = {depth.kind: depth for depth in list_depths(session)}
    assert set(depths) == {"plan", "understand"}
    assert (depths["plan"].ready, depths["plan"].leased, depths["plan"].expired) == (1, 1, 1)
    assert (depths["understand"].ready, depths["understand"].leased, depths["understand"].expired) == (
        2,
        0,
        0,
    )
    assert depths["understand"].model == "tiny"
    assert 0 <= (depths["plan"].oldest_seconds or -1) < 60


def test_what_waits_for_another_try_is_counted_apart(database: Database) -> None:
    submit(database, uris=("s3://b/a.wav", "s3://b/b.wav", "s3://b/c.wav"))
    for code in ("storage_unavailable", "decode_timeout"):
        found = claim(database, PassKind.PLAN)
        assert found is not None
        with database.write() as session:
            fail_pass(session, found, Failure(code, "again", retryable=True))
    with database.write() as session:
        session.execute(
            update(Pass).where(Pass.error_code == "storage_unavailable").values(not_before=database_now(600))
        )
        session.execute(
            update(Pass).where(Pass.error_code == "decode_timeout").values(not_before=database_now(90))
        )
    with database.read() as session:
        (depth,) = list_depths(session)
    assert (depth.ready, depth.waiting, depth.leased) == (3, 2, 0)
    assert depth.next_try_seconds is not None
    assert 80 < depth.next_try_seconds <= 90


def test_an_id_says_when_it_was_made() -> None:
    assert made_at("0198f0a1-7c5e-7000-8000-000000000001") == pytest.approx(0x0198F0A17C5E / 1000)


def test_failures_are_counted_by_code_and_listed_for_their_tenant_only(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/a.wav", "s3://b/b.wav"))
    other = submit(database, uris=("s3://b/a.wav",), tenant="other")
    for code in ("empty_file", "empty_file", "too_short"):
        found = claim(database, PassKind.PLAN)
        assert found is not None
        with database.write() as session:
            fail_pass(session, found, Failure(code, "as it is", retryable=False))
    with database.read() as session:
        assert dict(count_failures(session)) == {("plan", "empty_file"): 2, ("plan", "too_short"): 1}
        assert count_jobs(session) == {"failed": 2}
        mine = list_failures(session, "default")
        assert [row.job_id for row in mine] == [job_id, job_id]
        assert [row.job_id for row in list_failures(session, "default", job_id=other)] == []
        assert [row.id for row in list_failures(session, "default", after=mine[0].id)] == [mine[1].id]
        assert count_webhooks(session) == {"failing": 0, "disabled": 0}


def test_prefixes_that_failed_are_listed_between_the_recordings_by_age(database: Database) -> None:
    first = submit(database, uris=("s3://b/a.wav",))
    with database.write() as session:
        session.execute(update(JobRecording).values(state="failed"))
        for position, state in enumerate(("failed", "expanded")):
            row = {"id": new_id(), "tenant": "default", "job_id": first, "position": position, "state": state}
            session.execute(insert(JobSource).values(**row, kind="prefix", uri="s3://b/x/"))
    second = submit(database, uris=("s3://b/b.wav",))
    with database.write() as session:
        session.execute(update(JobRecording).values(state="failed"))
    with database.read() as session:
        found = list_failures(session, "default")
        assert [(row.job_id, row.uri) for row in found] == [
            (second, "s3://b/b.wav"), (first, "s3://b/x/"), (first, "s3://b/a.wav"),
        ]  # fmt: skip
        assert [row.id for row in list_failures(session, "default", limit=2)] == [row.id for row in found[:2]]
        assert [row.id for row in list_failures(session, "default", after=found[0].id, limit=1)] == [
            found[1].id
        ]
        assert list_failures(session, "default", job_id=second) == found[:1]
        assert list_failures(session, "other") == []


@pytest.fixture
def history(database: Database) -> Database:
    """A database whose passes are nearly all done."""
    job_id = submit(database, request())
    with database.write() as session:
        rows = [
            {"id": new_id(), "tenant": "default", "kind": "understand", "model": "tiny", "job_id": job_id,
             "state": PassState.DONE}
            for _ in range(5_000)
        ]  # fmt: skip
        session.execute(insert(Pass), rows)
    with database.engine.connect() as connection:
        connection = (
            connection.execution_options(isolation_level="AUTOCOMMIT")
            if not database.is_sqlite
            else connection
        )
        connection.execute(text("ANALYZE"))
        connection.commit()
    return database


@pytest.mark.parametrize(
    "read", [list_depths, count_failures, lambda session: list_failures(session, "default")]
)
def test_no_operators_query_reads_the_history(history: Database, read: Any) -> None:
    statements: list[str] = []
    event.listen(
        history.engine,
        "before_cursor_execute",
        lambda c, cur, sql, args, *rest: statements.append((sql, args)),
    )
    with history.read() as session:
        read(session)
    plans = []
    with history.engine.connect() as connection:
        for sql, args in list(statements):
            if "passes" in sql or "job_recordings" in sql:
                explain = "EXPLAIN QUERY PLAN " if history.is_sqlite else "EXPLAIN "
                rows = connection.exec_driver_sql(explain + sql, args).all()
                plans.append("\n".join(str(row) for row in rows))
    assert plans
    for shown in plans:
        if history.is_sqlite:
            assert "USING" in shown, shown  # an index, covering or not
            assert "SCAN passes\n" not in shown + "\n"
        elif "passes" in shown:
            assert "Seq Scan on passes" not in shown, shown
