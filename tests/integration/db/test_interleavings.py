"""Two connections at once, stepped by hand: whoever commits first wins, and the other one learns of it.

On SQLite writers take turns by ``BEGIN IMMEDIATE``, so that only PostgreSQL has schedules to try.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session
from support.jobs import claim, facts, plan, request, results, submit
from support.lives import (
    FINISH,
    PLAN,
    UNDERSTAND,
    assert_sound,
    cancel,
    count,
    fail,
    job_of,
    must,
    pass_of,
    retry,
    run_all,
    understand,
)
from support.servers import wait_until

from db.cancelling import cancel_job
from db.claiming import claim_passes
from db.claims import JobCancelled, LeaseLost
from db.database import Database
from db.finishing import complete_finish
from db.planning import complete_plan, load_plan
from db.queries import NotFound
from db.registering import register_recording
from db.retrying import JobNotOver, retry_job
from db.states import JobState, LinkState, PassState
from db.tables import Job, JobRecording, Pass, Recording, Result
from db.together import LOST, Together
from db.understanding import complete_understand


class Other(threading.Thread):
    """Something that another connection does; it may have to wait for ours."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001  # the test looks at it
            self.error = error

    def waits(self) -> bool:
        self.join(0.5)
        return self.is_alive()

    def end(self) -> Exception | None:
        self.join(20)
        assert not self.is_alive()
        return self.error


def link_to(database: Database, job_id: str, recording_id: str) -> None:
    """Let a job wait for one more recording, which another job has planned."""
    with database.write() as session:
        row = {"tenant": "default", "job_id": job_id, "position": 1, "uri": "s3://b/c.wav"}
        session.add(JobRecording(**row, recording_id=recording_id, state=LinkState.UNDERSTANDING))
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
        job.recordings_total += 1


def one_chunk(database: Database) -> tuple[str, Any]:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    return job_id, must(claim(database, UNDERSTAND))


def test_a_cancel_waits_for_a_completion_that_was_first_and_keeps_it(postgres_database: Database) -> None:
    database = postgres_database
    job_id, held = one_chunk(database)
    with database.write() as session:
        complete_understand(session, held, results(held))
        other = Other(lambda: cancel(database, job_id))
        assert other.waits()
    assert other.end() is None
    assert count(database, Result) == 1
    assert job_of(database, job_id).state == JobState.CANCELLED
    assert run_all(database) == 0
    assert_sound(database)


def test_a_completion_waits_for_a_cancel_that_was_first_and_is_dropped(postgres_database: Database) -> None:
    database = postgres_database
    job_id, held = one_chunk(database)
    with database.write() as session:
        cancel_job(session, "default", job_id, actor="t")
        other = Other(lambda: understand(database, held))
        assert other.waits()
    assert isinstance(other.end(), LeaseLost | JobCancelled)
    assert count(database, Result) == 0
    assert_sound(database)


def test_a_finish_waits_for_a_cancel_that_was_first_and_the_job_does_not_succeed(
    postgres_database: Database,
) -> None:
    database = postgres_database
    job_id, held = one_chunk(database)
    understand(database, held)
    last = must(claim(database, FINISH))

    def finish() -> None:
        with database.write() as session:
            complete_finish(session, last, [])

    with database.write() as session:
        cancel_job(session, "default", job_id, actor="t")
        other = Other(finish)
        assert other.waits()
    assert isinstance(other.end(), LeaseLost | JobCancelled)
    assert job_of(database, job_id).state == JobState.CANCELLED
    assert_sound(database)


@pytest.mark.parametrize("claim_first", [True, False])
def test_a_claim_and_a_cancel_at_once_leave_nothing_that_is_worked_on(
    postgres_database: Database, claim_first: bool
) -> None:
    database = postgres_database
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(2))
    if claim_first:
        with database.write() as session:
            held = claim_passes(session, UNDERSTAND, "w", model="tiny", lease_seconds=30, limit=2)
            other = Other(lambda: cancel(database, job_id))
            assert other.waits()
        assert other.end() is None
        assert {pass_of(database, one.pass_id).state for one in held} == {PassState.CANCELLED}
    else:
        with database.write() as session:
            cancel_job(session, "default", job_id, actor="t")
            assert claim(database, UNDERSTAND) is None  # skips what is locked, and does not wait
    assert claim(database, UNDERSTAND) is None
    assert_sound(database)


def test_a_cancel_hands_a_pass_on_while_its_worker_completes_it(postgres_database: Database) -> None:
    """The completion read the old job, waits for its lock, and then goes on as the heir's."""
    database = postgres_database
    first, held = one_chunk(database)
    second = submit(database)
    plan(database, must(claim(database, PLAN)), None)
    with database.write() as session:
        cancel_job(session, "default", first, actor="t")
        other = Other(lambda: understand(database, held))
        assert other.waits()
    assert other.end() is None
    assert count(database, Result) == 1
    assert pass_of(database, held.pass_id).job_id == second
    assert run_all(database) == 0
    assert job_of(database, second).state == JobState.SUCCEEDED
    assert_sound(database)


@pytest.mark.parametrize("plan_first", [True, False])
def test_a_plan_that_counts_on_passes_of_a_job_that_is_being_cancelled_loses_none(
    postgres_database: Database, plan_first: bool
) -> None:
    database = postgres_database
    first = submit(database, request("transcribe"))
    plan(database, must(claim(database, PLAN)), facts(3))
    second = submit(database, request("transcribe"))
    waiting = must(claim(database, PLAN))
    with database.write() as session:
        recording = register_recording(session, waiting, load_plan(session, waiting), "v1", 100)

    def plan_second() -> None:
        with database.write() as session:
            complete_plan(session, waiting, recording.id, None, lambda *_: True)

    if plan_first:
        with database.write() as session:
            complete_plan(session, waiting, recording.id, None, lambda *_: True)
            other = Other(lambda: cancel(database, first))
            assert other.waits()
    else:
        with database.write() as session:
            cancel_job(session, "default", first, actor="t")
            other = Other(plan_second)
            assert other.waits()
    assert other.end() is None
    run_all(database)
    assert count(database, Result) == 3
    assert job_of(database, second).state == JobState.SUCCEEDED
    assert_sound(database)


def test_two_cancels_of_jobs_that_wait_for_each_other_do_not_deadlock(postgres_database: Database) -> None:
    database = postgres_database
    jobs = [submit(database), submit(database)]
    plan(database, must(claim(database, PLAN)), facts(4))
    plan(database, must(claim(database, PLAN)), None)
    with database.write() as session:
        cancel_job(session, "default", jobs[0], actor="t")  # hands on to the second
        other = Other(lambda: cancel(database, jobs[1]))
        assert other.waits()
    assert other.end() is None
    run_all(database)
    assert count(database, Pass, Pass.state.in_((PassState.READY, PassState.LEASED))) == 0
    assert count(database, Result) == 0
    assert_sound(database)


def test_an_heir_whose_row_is_in_use_is_waited_for_by_a_later_page(postgres_database: Database) -> None:
    database = postgres_database
    jobs = [submit(database), submit(database)]
    plan(database, must(claim(database, PLAN)), facts(2))
    plan(database, must(claim(database, PLAN)), None)
    with database.write() as session:
        session.execute(text("SELECT id FROM jobs WHERE id = :id FOR UPDATE"), {"id": jobs[1]})
        cancel(database, jobs[0])  # in another connection; it does not wait
        assert count(database, Pass, Pass.job_id == jobs[0], Pass.state == PassState.READY) == 3
    assert run_all(database) == 0  # the passes are put back until the retire pass has handed them on
    with database.write() as session:
        session.execute(text("UPDATE passes SET not_before = NULL"))
    assert run_all(database) == 2
    assert job_of(database, jobs[1]).state == JobState.SUCCEEDED
    assert_sound(database)


def test_two_cancels_of_jobs_that_are_each_others_heirs_do_not_wait_in_a_ring(
    postgres_database: Database,
) -> None:
    """Each job asked first for one recording and waits for the other's too: each cancel looks at the other's row."""
    database = postgres_database
    jobs = [submit(database, uris=("s3://b/a.wav",)), submit(database, uris=("s3://b/b.wav",))]
    for _ in jobs:
        plan(database, must(claim(database, PLAN)), facts(2))
    with database.read() as session:
        recordings = list(session.scalars(select(JobRecording.recording_id).order_by(JobRecording.job_id)))
    for job_id, recording_id in zip(jobs, reversed(recordings), strict=True):
        link_to(database, job_id, recording_id)
    with database.write() as session:
        session.execute(text("SELECT id FROM jobs WHERE id = :id FOR NO KEY UPDATE"), {"id": jobs[0]})
        other = Other(lambda: cancel(database, jobs[1]))
        assert not other.waits()  # as it would for the first job's row, while we go for the second's
        cancel_job(session, "default", jobs[0], actor="t")
    assert other.end() is None
    with database.write() as session:
        session.execute(text("UPDATE passes SET not_before = NULL"))
    run_all(database)
    assert [job_of(database, job_id).state for job_id in jobs] == [JobState.CANCELLED] * 2
    assert count(database, Pass, Pass.state.in_((PassState.READY, PassState.LEASED))) == 0
    assert_sound(database)


def test_two_retries_at_once_make_one_job(postgres_database: Database) -> None:
    database = postgres_database
    job_id = submit(database)
    fail(database, must(claim(database, PLAN)))
    with database.write() as session:
        retry_job(session, "default", job_id, actor="t")
        other = Other(lambda: retry(database, job_id))
        assert other.waits()
    assert isinstance(other.end(), JobNotOver)


def test_a_retry_waits_for_the_end_of_the_job(postgres_database: Database) -> None:
    database = postgres_database
    job_id, held = one_chunk(database)
    fail(database, held)
    last = must(claim(database, FINISH))
    again: list[str] = []
    with database.write() as session:
        complete_finish(session, last, [])
        other = Other(lambda: again.append(retry(database, job_id)))
        assert other.waits()
    assert other.end() is None
    assert run_all(database) == 1
    assert job_of(database, again[0]).state == JobState.SUCCEEDED
    assert_sound(database)


def test_a_delete_and_a_job_that_links_to_the_recording_at_once(postgres_database: Database) -> None:
    from support.lives import RETIRE, remove, retire

    database = postgres_database
    first = submit(database)
    run_all(database)
    remove(database, first)
    gone = must(claim(database, RETIRE))
    second = submit(database)
    waiting = must(claim(database, PLAN))
    with database.write() as session:
        recording = session.scalars(select(Recording)).one()
        session.execute(
            text("UPDATE job_recordings SET recording_id = :r WHERE id = :l"),
            {"r": recording.id, "l": waiting.job_recording_id},
        )
        other = Other(lambda: retire(database, gone))
        assert other.waits()
    assert other.end() is None
    plan(database, waiting, None)
    assert run_all(database) == 0
    assert job_of(database, second).state == JobState.SUCCEEDED
    with pytest.raises(NotFound):
        job_of(database, first)
    assert_sound(database)


def test_a_batch_that_another_transaction_waits_for_in_a_ring_is_done_one_by_one(
    postgres_database: Database,
) -> None:
    """The batch waits first, so that PostgreSQL finds the ring from there and rolls the batch back."""
    database = postgres_database
    batches: list[list[int]] = []
    others_came = threading.Event()

    def lock(session: Session, number: int) -> None:
        session.execute(select(func.pg_advisory_xact_lock(number)))

    def lock_all(numbers: Sequence[int]) -> Sequence[int]:
        batches.append(sorted(numbers))
        assert others_came.wait(10)
        with database.write() as session:
            for number in sorted(numbers):
                lock(session, number)
        return numbers

    together: Together[int, int] = Together(lock_all, LOST)
    with database.write() as session:
        lock(session, 2)
        asking = [Other(lambda: together(7))]
        wait_until(lambda: batches, 10, "the first is under way")
        asking += [Other(lambda: together(1)), Other(lambda: together(2))]
        wait_until(lambda: len(batches) + len(together._waiting) == 3, 10, "all have come")
        others_came.set()
        wait_until(lambda: waiting_for_locks(database) == 1, 10, "the batch waits for us")
        lock(session, 1)
    assert [one.end() for one in asking] == [None] * 3
    assert [len(batch) for batch in batches] == [1, 2, 1, 1]


def waiting_for_locks(database: Database) -> int:
    with database.read() as session:
        asked = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return session.scalar(asked) or 0
