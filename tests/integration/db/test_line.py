"""The life of a job in the database, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import func, select, text, update
from support.jobs import MODEL, claim, facts, plan, request, results, submit

from db.claiming import claim_passes, is_due
from db.claims import Claim, Failure, JobCancelled, LeaseLost, release, renew_leases
from db.clock import database_now
from db.database import Database
from db.failures import fail_pass, return_expired
from db.finishing import NewFindings, complete_finish, load_finish
from db.planning import load_plan
from db.queries import get_job, job_progress, list_job_recordings, list_segments
from db.registering import register_recording
from db.setbacks import MAX_CRASHES, MAX_ERRORS, backoff_seconds, find_expired
from db.settling import Outcome, settle_recording
from db.states import JobState, LinkState, PassKind, PassState, RecordingState
from db.tables import Annotation, Event, Job, JobRecording, Pass, Recording, Result, Segment
from db.understanding import complete_understand, load_understand

PLAN, UNDERSTAND, FINISH = PassKind.PLAN, PassKind.UNDERSTAND, PassKind.FINISH


def must(found: Claim | None) -> Claim:
    assert found is not None
    return found


def understand(database: Database, found: Claim) -> None:
    with database.write() as session:
        complete_understand(session, found, results(found))


def segment_row(words: list[dict[str, object]] | None = None) -> dict[str, object]:
    return {
        "index": 0, "channel": 0, "start_sample": 0, "end_sample": 16_000, "start_ms": 0, "end_ms": 1000,
        "text": "hello world", "language": "en", "words": words or [], "avg_logprob": -0.1, "flags": [],
    }  # fmt: skip


def annotation_row(task: str) -> dict[str, object]:
    return {
        "index": 0, "channel": 0, "task": task, "start_sample": 0, "end_sample": 16_000, "start_ms": 0,
        "end_ms": 1000, "label": "happy", "text": "happy", "data": {}, "flags": [],
    }  # fmt: skip


def finish(database: Database, found: Claim) -> None:
    with database.read() as session:
        work = load_finish(session, found)
    findings = [
        NewFindings(r.id, [segment_row()] if r.task == "transcribe" else [], [])
        if r.task == "transcribe"
        else NewFindings(r.id, [], [annotation_row(r.task)])
        for r in work.requests
    ]
    with database.write() as session:
        complete_finish(session, found, findings)


def run_all(database: Database) -> int:
    """Work on everything that is ready; return how many understand passes there were."""
    passes = 0
    while found := claim(database, PLAN):
        plan(database, found, facts())
    while found := claim(database, UNDERSTAND):
        understand(database, found)
        passes += 1
    while found := claim(database, FINISH):
        finish(database, found)
    return passes


def job_state(database: Database, job_id: str) -> str:
    with database.read() as session:
        return get_job(session, "default", job_id).state


def count(database: Database, table: type) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_a_job_goes_from_submitted_to_rows(database: Database) -> None:
    job_id = submit(database, request("transcribe"), request("caption"))
    assert job_state(database, job_id) == JobState.QUEUED
    assert run_all(database) == 2
    assert job_state(database, job_id) == JobState.SUCCEEDED
    assert (count(database, Result), count(database, Segment), count(database, Annotation)) == (4, 1, 1)
    with database.read() as session:
        kinds = session.scalars(select(Event.kind).where(Event.job_id == job_id).order_by(Event.id)).all()
        job = get_job(session, "default", job_id)
        progress = job_progress(session, job)
    assert kinds == [
        "job.accepted", "job.running", "recording.planned", "recording.finishing", "recording.succeeded",
        "job.succeeded",
    ]  # fmt: skip
    assert job.started_at is not None
    assert job.finished_at is not None
    assert progress.audio_seconds_done == progress.audio_seconds_total == 2.0


def test_a_second_job_runs_only_the_task_that_is_new(database: Database) -> None:
    submit(database, request("transcribe"))
    run_all(database)
    second = submit(database, request("transcribe"), request("caption"))
    assert run_all(database) == 2
    assert job_state(database, second) == JobState.SUCCEEDED
    assert (count(database, Recording), count(database, Result), count(database, Segment)) == (1, 4, 1)


def test_a_second_job_that_asks_nothing_new_finishes_without_hearing(database: Database) -> None:
    submit(database)
    run_all(database)
    second = submit(database)
    assert run_all(database) == 0
    assert job_state(database, second) == JobState.SUCCEEDED
    assert count(database, Segment) == 1


def test_two_jobs_that_run_at_once_share_the_passes_and_both_finish(database: Database) -> None:
    jobs = [submit(database), submit(database)]
    first, second = must(claim(database, PLAN)), must(claim(database, PLAN))
    assert plan(database, first, facts()).used
    again = plan(database, second, facts())
    assert not again.used
    assert sum(again.understand.values()) == 0
    assert run_all(database) == 2
    assert [job_state(database, job) for job in jobs] == [JobState.SUCCEEDED] * 2
    assert count(database, Segment) == 1


def test_a_new_version_of_the_object_is_a_new_recording(database: Database) -> None:
    for version in ("v1", "v2"):
        submit(database)
        plan(database, must(claim(database, PLAN)), facts(), version)
    assert count(database, Recording) == 2


def test_a_recording_without_speech_skips_the_transcript_and_still_finishes(database: Database) -> None:
    job_id = submit(database, request("transcribe"))
    stored = plan(database, must(claim(database, PLAN)), facts(speech=False))
    assert (sum(stored.understand.values()), stored.finishes) == (0, 1)
    finish(database, must(claim(database, FINISH)))
    assert job_state(database, job_id) == JobState.SUCCEEDED


def test_a_truncated_recording_ends_partial_and_says_so(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(truncated=True))
    run_all(database)
    assert job_state(database, job_id) == JobState.PARTIAL
    with database.read() as session:
        [(link, _)] = list_job_recordings(session, "default", job_id)
    assert (link.error_code, link.error_message) == ("truncated", "declared 3.0 decoded 1.4")


def test_every_claim_takes_different_passes(database: Database) -> None:
    submit(database, uris=tuple(f"s3://b/{i}" for i in range(5)))
    with database.write() as session:
        first = claim_passes(session, PLAN, "w1", lease_seconds=30, limit=3)
    with database.write() as session:
        second = claim_passes(session, PLAN, "w2", lease_seconds=30, limit=3)
    ids = [found.pass_id for found in first + second]
    assert (len(first), len(second), len(set(ids))) == (3, 2, 5)


def test_two_claims_at_once_do_not_wait_for_each_other(postgres_database: Database) -> None:
    submit(postgres_database, uris=("s3://b/1", "s3://b/2"))
    with postgres_database.write() as one, postgres_database.write() as two:
        [first] = claim_passes(one, PLAN, "w1", lease_seconds=30)
        [second] = claim_passes(two, PLAN, "w2", lease_seconds=30)
    assert first.pass_id != second.pass_id


def test_higher_priority_is_claimed_first(database: Database) -> None:
    submit(database, uris=("s3://b/low",))
    urgent = submit(database, uris=("s3://b/high",), priority=5)
    assert must(claim(database, PLAN)).job_id == urgent


def test_a_worker_that_serves_another_model_gets_nothing(database: Database) -> None:
    submit(database)
    plan(database, must(claim(database, PLAN)), facts())
    with database.write() as session:
        assert claim_passes(session, UNDERSTAND, "w", model="other", lease_seconds=30) == []


def expire(database: Database, found: Claim) -> None:
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == found.pass_id).values(lease_until=Pass.created_at))


def take_back(database: Database) -> PassState:
    with database.read() as session:
        [found] = find_expired(session)
    with database.write() as session:
        return return_expired(session, found)


def test_a_killed_workers_pass_is_run_again_and_stored_once(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    dead = must(claim(database, UNDERSTAND, worker="dead"))
    expire(database, dead)
    assert take_back(database) == PassState.READY
    again = must(claim(database, UNDERSTAND, worker="alive"))
    assert (again.pass_id, again.epoch, again.attempts) == (dead.pass_id, dead.epoch + 1, 2)
    understand(database, again)
    with pytest.raises(LeaseLost):
        understand(database, dead)
    assert count(database, Result) == 1
    finish(database, must(claim(database, FINISH)))
    assert job_state(database, job_id) == JobState.SUCCEEDED


def test_a_stale_worker_can_neither_complete_renew_fail_nor_release(database: Database) -> None:
    submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    stale = must(claim(database, UNDERSTAND))
    expire(database, stale)
    take_back(database)
    new = must(claim(database, UNDERSTAND))
    with database.write() as session:
        assert renew_leases(session, [stale, new], 30) == [stale]
    with database.write() as session:
        assert not release(session, stale)
    with pytest.raises(LeaseLost), database.write() as session:
        fail_pass(session, stale, Failure("x", "x", retryable=True))
    with database.write() as session:
        assert session.scalars(select(Pass.state).where(Pass.id == new.pass_id)).one() == PassState.LEASED


def test_a_renewed_lease_is_not_taken_back(database: Database) -> None:
    submit(database)
    found = must(claim(database, PLAN))
    expire(database, found)
    with database.read() as session:
        [expired] = find_expired(session)
    with database.write() as session:
        assert renew_leases(session, [found], 30) == []
    with pytest.raises(LeaseLost), database.write() as session:
        return_expired(session, expired)


def test_a_released_pass_is_ready_at_once_and_its_attempt_does_not_count(database: Database) -> None:
    submit(database)
    found = must(claim(database, PLAN))
    with database.write() as session:
        assert release(session, found)
    assert must(claim(database, PLAN)).attempts == 1


def test_a_pass_that_takes_workers_down_is_set_aside_and_the_rest_goes_on(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(2))
    poison = must(claim(database, UNDERSTAND))
    understand(database, must(claim(database, UNDERSTAND)))
    for crash in range(1, MAX_CRASHES + 1):
        expire(database, poison)
        state = take_back(database)
        assert state == (PassState.FAILED if crash == MAX_CRASHES else PassState.READY)
        if state == PassState.READY:
            with database.write() as session:
                session.execute(update(Pass).where(Pass.id == poison.pass_id).values(not_before=None))
            poison = must(claim(database, UNDERSTAND))
    finish(database, must(claim(database, FINISH)))
    assert job_state(database, job_id) == JobState.PARTIAL
    with database.read() as session:
        [(link, _)] = list_job_recordings(session, "default", job_id)
    assert link.error_code == "chunks_failed"
    assert "1 of 2" in (link.error_message or "")
    assert "worker_crashed" in (link.error_message or "")


def test_bad_input_fails_its_recording_at_once_and_the_others_go_on(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/bad", "s3://b/good"))
    bad = must(claim(database, PLAN))
    with database.write() as session:
        assert (
            fail_pass(session, bad, Failure("empty_file", "s3://b/bad is empty", False)) == PassState.FAILED
        )
    run_all(database)
    assert job_state(database, job_id) == JobState.PARTIAL
    with database.read() as session:
        states = [
            (link.state, link.error_code) for link, _ in list_job_recordings(session, "default", job_id)
        ]
    assert states == [(LinkState.FAILED, "empty_file"), (LinkState.SUCCEEDED, None)]


def test_a_job_whose_recordings_all_fail_has_failed(database: Database) -> None:
    job_id = submit(database)
    found = must(claim(database, PLAN))
    with database.write() as session:
        recording_failure = Failure("corrupt_audio", "x", retryable=False)
        fail_pass(session, found, recording_failure)
    assert job_state(database, job_id) == JobState.FAILED


def test_an_undecodable_recording_is_marked_and_a_later_job_may_plan_it(database: Database) -> None:
    submit(database)
    found = must(claim(database, PLAN))
    with database.write() as session:
        recording = register_recording(session, found, load_plan(session, found), "v1", 1)
    with database.write() as session:
        fail_pass(session, found, Failure("corrupt_audio", "x", retryable=False))
    with database.read() as session:
        marked = session.scalars(select(Recording).where(Recording.id == recording.id)).one()
    assert (marked.state, marked.error_code) == (RecordingState.INVALID, "corrupt_audio")
    second = submit(database)
    run_all(database)
    assert job_state(database, second) == JobState.SUCCEEDED


def test_an_error_that_may_pass_is_tried_again_later_and_not_for_ever(database: Database) -> None:
    job_id = submit(database)
    failure = Failure("storage_unavailable", "no answer", retryable=True)
    for attempt in range(1, MAX_ERRORS + 1):
        found = must(claim(database, PLAN))
        with database.write() as session:
            state = fail_pass(session, found, failure)
        assert state == (PassState.FAILED if attempt == MAX_ERRORS else PassState.READY)
        if state == PassState.READY:
            assert claim(database, PLAN) is None  # it waits
            with database.write() as session:
                session.execute(update(Pass).values(not_before=None))
    assert job_state(database, job_id) == JobState.FAILED


def test_a_cancel_that_has_committed_wins_over_a_completion(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    found = must(claim(database, UNDERSTAND))
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(state=JobState.CANCELLED))
    with pytest.raises(JobCancelled):
        understand(database, found)
    assert count(database, Result) == 0


def test_a_failing_transaction_leaves_no_result_and_the_lease_untouched(database: Database) -> None:
    submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    found = must(claim(database, UNDERSTAND))

    def die_before_the_commit() -> None:
        with database.write() as session:
            complete_understand(session, found, results(found))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        die_before_the_commit()
    assert count(database, Result) == 0
    understand(database, found)
    assert count(database, Result) == 1


def test_a_pass_hands_out_only_requests_without_a_result(database: Database) -> None:
    submit(database, request("transcribe"), request("caption"))
    plan(database, must(claim(database, PLAN)), facts(1))
    found = must(claim(database, UNDERSTAND))
    with database.read() as session:
        work = load_understand(session, found)
    assert {asked.task for asked in work.requests} == {"transcribe", "caption"}
    understand(database, found)
    with database.read() as session:
        assert load_understand(session, found).requests == ()


def test_the_last_two_passes_of_a_recording_that_end_at_once_start_one_finish(
    postgres_database: Database,
) -> None:
    database = postgres_database
    submit(database, request("transcribe"), request("caption"), uris=("s3://b/1",))
    plan(database, must(claim(database, PLAN)), facts(12))
    claims = [must(claim(database, UNDERSTAND)) for _ in range(12)]
    barrier = threading.Barrier(4)

    def complete(mine: list[Claim]) -> None:
        barrier.wait()
        for found in mine:
            understand(database, found)

    threads = [threading.Thread(target=complete, args=(claims[i::4],)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as session:
        finishes = session.scalars(select(Pass.id).where(Pass.kind == FINISH)).all()
    assert len(finishes) == 1


def test_a_job_that_waits_for_two_passes_is_not_forgotten_when_they_end_at_once(
    postgres_database: Database,
) -> None:
    database = postgres_database
    submit(database, request("transcribe"))
    plan(database, must(claim(database, PLAN)), facts(1))
    first = must(claim(database, UNDERSTAND))
    second_job = submit(database, request("transcribe"), request("caption"))
    plan(database, must(claim(database, PLAN)), None)
    second = must(claim(database, UNDERSTAND))
    with database.write() as session:
        complete_understand(
            session, first, results(first)
        )  # not committed: it cannot see the second, nor be seen
        other = threading.Thread(target=understand, args=(database, second))
        other.start()
        other.join(0.5)
    other.join()
    with database.read() as session:
        jobs = session.scalars(select(Pass.job_id).where(Pass.kind == FINISH)).all()
    assert second_job in jobs


def test_two_jobs_that_finish_the_same_request_at_once_store_it_once(database: Database) -> None:
    jobs = [submit(database), submit(database)]
    plan(database, must(claim(database, PLAN)), facts(1))
    plan(database, must(claim(database, PLAN)), None)
    understand(database, must(claim(database, UNDERSTAND)))
    both = [must(claim(database, FINISH)), must(claim(database, FINISH))]
    with database.read() as session:
        found = [
            [NewFindings(heard.id, [segment_row()], []) for heard in load_finish(session, one).requests]
            for one in both
        ]
    assert all(found)
    for one, findings in zip(both, found, strict=True):
        with database.write() as session:
            complete_finish(session, one, findings)
    assert count(database, Segment) == 1
    assert [job_state(database, job) for job in jobs] == [JobState.SUCCEEDED] * 2


def test_the_words_view_counts_words_in_recording_time(database: Database) -> None:
    submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    understand(database, must(claim(database, UNDERSTAND)))
    found = must(claim(database, FINISH))
    words = [
        {"word": "hello", "start_ms": 100, "end_ms": 300, "start_sample": 1600, "end_sample": 4800},
        {"word": "world", "start_ms": 320, "end_ms": 500, "start_sample": 5120, "end_sample": 8000},
    ]
    with database.read() as session:
        [heard] = load_finish(session, found).requests
    with database.write() as session:
        complete_finish(session, found, [NewFindings(heard.id, [segment_row(words)], [])])
    with database.read() as session:
        rows = session.execute(
            text("SELECT position, word, start_ms, end_ms, uri FROM words ORDER BY start_ms")
        ).all()
    assert [tuple(row) for row in rows] == [
        (0, "hello", 100, 300, "s3://b/a.wav"),
        (1, "world", 320, 500, "s3://b/a.wav"),
    ]


def test_another_tenant_sees_and_shares_nothing(database: Database) -> None:
    submit(database)
    run_all(database)
    with database.read() as session:
        recording = session.scalars(select(Recording)).one()
        assert list_segments(session, "other", recording.id) == []
    other = submit(database, tenant="other")
    assert run_all(database) == 2
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Recording)) == 2
        assert list_job_recordings(session, "default", other) == []


def test_a_pause_grows_and_has_an_end() -> None:
    assert [backoff_seconds(n, 1.0) for n in (1, 2, 3, 20)] == [1.0, 2.0, 4.0, 300.0]
    assert backoff_seconds(1, 0.0) == 0.5


def test_job_recordings_close_once(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/1", "s3://b/2"))
    with database.write() as session:
        link = session.scalars(select(JobRecording).where(JobRecording.position == 0)).one()
        done = Outcome(LinkState.SUCCEEDED)
        assert settle_recording(session, job_id, link.id, done, actor="t")
        assert not settle_recording(session, job_id, link.id, done, actor="t")
        assert get_job(session, "default", job_id).recordings_done == 1


def test_what_is_due_is_known_without_a_claim(database: Database) -> None:
    def due(kind: PassKind = PLAN, model: str = "") -> bool:
        with database.read() as session:
            return is_due(session, kind, model=model)

    def wait(seconds: float) -> None:
        with database.write() as session:
            session.execute(update(Pass).values(not_before=database_now(seconds)))

    assert not due()
    submit(database)
    assert due()
    assert not due(UNDERSTAND, MODEL)
    wait(60.0)
    assert not due()
    wait(-60.0)
    assert due()
    assert due(UNDERSTAND, MODEL)  # whoever claims lets in whatever has waited long enough
    found = must(claim(database, PLAN))
    assert not due()
    plan(database, found, facts())
    assert due(UNDERSTAND, MODEL)
    assert not due(UNDERSTAND, "another")
    with database.write() as session:
        session.execute(update(Pass).where(Pass.kind == UNDERSTAND).values(kind=PassKind.DELIVER))
    assert due(PassKind.DELIVER)
