"""Act out the life of jobs in the database, for tests: what workers do, without audio or a model."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from support.jobs import claim, facts, plan, results

from db.cancelling import cancel_job, lock_retired, retire_page
from db.claims import Claim, Failure, hold
from db.database import Database
from db.deleting import delete_job, is_expired, remove_page, remove_rest
from db.failures import fail_pass
from db.finishing import NewFindings, complete_finish, load_finish
from db.history import check_events, check_rows, load_history
from db.queries import get_job
from db.retrying import ask_more, retry_job
from db.states import JobState, PassKind
from db.submitting import NewRequest
from db.tables import Job, Pass
from db.understanding import complete_understand

PLAN, UNDERSTAND, FINISH, RETIRE = PassKind.PLAN, PassKind.UNDERSTAND, PassKind.FINISH, PassKind.RETIRE
POISON = Failure("answer_not_finite", "the model computed NaN", retryable=False)


def must(found: Claim | None) -> Claim:
    assert found is not None
    return found


def understand(database: Database, found: Claim) -> None:
    with database.write() as session:
        complete_understand(session, found, results(found))


def fail(database: Database, found: Claim, failure: Failure = POISON) -> None:
    with database.write() as session:
        fail_pass(session, found, failure)


def segment_row(number: int) -> dict[str, object]:
    return {
        "index": number, "channel": 0, "start_sample": number, "end_sample": 16_000, "start_ms": 0, "end_ms": 1000,
        "text": "hello world", "language": "en", "words": [], "avg_logprob": -0.1, "flags": [],
    }  # fmt: skip


def finish(database: Database, found: Claim) -> None:
    """Stitch a segment for each result."""
    with database.read() as session:
        work = load_finish(session, found)
    findings = [
        NewFindings(one.id, [segment_row(n) for n in range(len(one.results))], [], None, one.chunks_done)
        for one in work.requests
    ]
    with database.write() as session:
        complete_finish(session, found, findings)


def retire(database: Database, found: Claim) -> list[str]:
    """Do what a retire pass does; return the objects that it would delete."""
    gone: list[str] = []
    while True:
        with database.write() as session:
            job = lock_retired(session, found)
            if job.state != JobState.CANCELLED or retire_page(session, job, actor="t", limit=3).is_over:
                break
    while True:
        with database.write() as session:
            job = lock_retired(session, found)
            if not is_expired(session, job):
                hold(session, found)
                return gone
            removed = remove_page(session, job, limit=2)
            is_last = not removed.links
            if is_last:
                removed = remove_rest(session, job, found)
        gone += [*removed.timelines, *removed.uploads]
        if is_last:
            return gone


def run_all(database: Database, *, chunks: int = 2) -> int:
    """Work on everything that is ready; return how many understand passes there were."""
    passes = 0
    while found := claim(database, PLAN):
        plan(database, found, facts(chunks))
    while found := claim(database, UNDERSTAND):
        understand(database, found)
        passes += 1
    while found := claim(database, FINISH):
        finish(database, found)
    while found := claim(database, RETIRE):
        retire(database, found)
    return passes


def cancel(database: Database, job_id: str) -> Job:
    with database.write() as session:
        return cancel_job(session, "default", job_id, actor="t")


def retry(database: Database, job_id: str, **more: Any) -> str:
    with database.write() as session:
        return retry_job(session, "default", job_id, actor="t", **more).id


def extend(database: Database, job_id: str, *requests: NewRequest, **more: Any) -> str:
    with database.write() as session:
        return ask_more(session, "default", job_id, requests, actor="t", **more).id


def remove(database: Database, job_id: str) -> None:
    with database.write() as session:
        delete_job(session, "default", job_id, actor="t")


def job_of(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return get_job(session, "default", job_id)


def pass_of(database: Database, pass_id: str) -> Pass:
    with database.read() as session:
        return session.scalars(select(Pass).where(Pass.id == pass_id)).one()


def count(database: Database, table: type[Any], *where: Any) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table).where(*where)) or 0


def expire(database: Database, found: Claim) -> None:
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == found.pass_id).values(lease_until=Pass.created_at))


def assert_sound(database: Database) -> None:
    """Fail when the history or the rows hold anything that must not be."""
    with database.read() as session:
        assert check_events(load_history(session)) == []
        assert check_rows(session) == []
