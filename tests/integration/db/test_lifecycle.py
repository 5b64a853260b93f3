"""Cancel, retry, ask more and delete: nothing is lost, nothing is doubled, nothing is taken from another job."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from support.jobs import claim, facts, plan, request, results, submit
from support.lives import (
    FINISH,
    PLAN,
    RETIRE,
    UNDERSTAND,
    assert_sound,
    cancel,
    count,
    expire,
    extend,
    fail,
    finish,
    job_of,
    must,
    pass_of,
    remove,
    retire,
    retry,
    run_all,
    understand,
)

from db.cancelling import PAGE, JobOver
from db.claiming import claim_passes
from db.claims import Claim, JobCancelled, LeaseLost, find_lost, release
from db.clock import database_now
from db.database import Database
from db.failures import return_expired
from db.planning import TimelineDiffers, TimelineDropped, complete_plan, load_plan
from db.queries import NotFound, list_job_recordings
from db.registering import register_recording
from db.retention import drop_timeline, find_unused_timelines, named_timelines
from db.retrying import JobNotOver, NothingToAsk, NothingToRetry
from db.setbacks import MAX_CRASHES, find_expired
from db.states import IfSeen, JobState, LinkState, PassState
from db.tables import (
    Annotation,
    Chunk,
    Event,
    Job,
    JobRecording,
    JobSource,
    Pass,
    Recording,
    RecordingRequest,
    Result,
    Segment,
    Table,
)
from db.understanding import complete_understand


def states_of(database: Database, job_id: str) -> list[str]:
    with database.read() as session:
        return [link.state for link, _ in list_job_recordings(session, "default", job_id)]


def test_a_cancel_ends_everything_of_a_job_and_the_counts_add_up(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/1", "s3://b/2", "s3://b/3"))
    plan(database, must(claim(database, PLAN)), facts(2))
    held = must(claim(database, UNDERSTAND))
    job = cancel(database, job_id)
    assert (job.state, job.recordings_cancelled, job.recordings_total) == (JobState.CANCELLED, 3, 3)
    assert states_of(database, job_id) == [LinkState.CANCELLED] * 3
    assert count(database, Pass, Pass.state.in_((PassState.READY, PassState.LEASED))) == 0
    with database.read() as session:
        assert find_lost(session, [held]) == [held]  # its worker is told at the next look
    with pytest.raises(LeaseLost):
        understand(database, held)
    assert count(database, Result) == 0
    assert cancel(database, job_id).state == JobState.CANCELLED
    assert run_all(database) == 0
    assert_sound(database)


def test_a_job_that_has_ended_cannot_be_cancelled(database: Database) -> None:
    job_id = submit(database)
    run_all(database)
    with pytest.raises(JobOver, match="succeeded"):
        cancel(database, job_id)
    with pytest.raises(NotFound):
        cancel(database, "01a00000-0000-7000-8000-000000000000")


def test_a_large_job_is_retired_page_by_page_and_goes_on_where_a_worker_died(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.cancelling.retire_page.__kwdefaults__", {"limit": 2})  # a page of two
    job_id = submit(database, uris=tuple(f"s3://b/{number}" for number in range(7)))
    assert cancel(database, job_id).recordings_cancelled == 2
    assert claim(database, PLAN) is None  # what is not retired yet is not worked on either
    dead = must(claim(database, RETIRE, worker="dead"))
    expire(database, dead)
    with database.write() as session:
        assert return_expired(session, find_expired(session)[0]) == PassState.READY
    retire(database, must(claim(database, RETIRE)))
    assert job_of(database, job_id).recordings_cancelled == 7
    assert count(database, Pass, Pass.state == PassState.READY) == 0
    assert_sound(database)


def test_a_cancel_takes_nothing_from_another_job_that_waits_for_the_recording(database: Database) -> None:
    first = submit(database, request("transcribe"), request("caption"))
    plan(database, must(claim(database, PLAN)), facts(3))
    second = submit(database, request("caption"), priority=7)
    plan(database, must(claim(database, PLAN)), None)
    held = must(claim(database, UNDERSTAND))
    cancel(database, first)
    handed = pass_of(database, held.pass_id)
    assert (handed.state, handed.job_id, handed.priority) == (PassState.LEASED, second, 7)
    assert len(handed.request_ids) == 1  # the transcript was asked by nobody else
    understand(database, held)  # by the claim of before: it goes on
    assert count(database, Result) == 1
    assert run_all(database) == 2
    assert job_of(database, second).state == JobState.SUCCEEDED
    assert (count(database, Result), count(database, Segment)) == (3, 3)
    assert_sound(database)


def test_what_nobody_else_wants_is_asked_again_by_a_later_job(database: Database) -> None:
    first = submit(database)
    plan(database, must(claim(database, PLAN)), facts(3))
    understand(database, must(claim(database, UNDERSTAND)))
    cancel(database, first)
    second = submit(database)
    assert run_all(database) == 2  # the answer that there is stays
    assert job_of(database, second).state == JobState.SUCCEEDED
    assert count(database, Result) == 3
    assert_sound(database)


def test_a_worker_that_finds_its_job_cancelled_gives_the_pass_back(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    held = must(claim(database, UNDERSTAND))
    with database.write() as session:
        session.execute(
            update(Job).where(Job.id == job_id).values(state=JobState.CANCELLED, finished_at=database_now())
        )
    with pytest.raises(JobCancelled):
        understand(database, held)
    with database.write() as session:
        assert release(session, held)
    with database.write() as session:
        assert claim_passes(session, UNDERSTAND, "w2", model="tiny", lease_seconds=30) == []
    assert count(database, Result) == 0


def test_a_retry_runs_only_what_failed(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/bad", "s3://b/good", "s3://b/half"))
    fail(database, must(claim(database, PLAN)))
    plan(database, must(claim(database, PLAN)), facts(2))
    plan(database, must(claim(database, PLAN)), facts(2))
    for number in range(4):
        found = must(claim(database, UNDERSTAND))
        fail(database, found) if number == 3 else understand(database, found)
    run_all(database)
    assert job_of(database, job_id).state == JobState.PARTIAL
    assert states_of(database, job_id) == [LinkState.FAILED, LinkState.SUCCEEDED, LinkState.PARTIAL]
    assert count(database, Segment) == 3
    again = retry(database, job_id)
    with pytest.raises(JobNotOver, match="already"):
        retry(database, job_id)
    assert run_all(database) == 3  # two chunks of the one that could not be planned, and the one that failed
    new = job_of(database, again)
    assert (new.state, new.recordings_total, new.retry_of) == (JobState.SUCCEEDED, 2, job_id)
    assert job_of(database, job_id).state == JobState.PARTIAL  # what has ended stays as it was
    assert (count(database, Result), count(database, Segment)) == (6, 6)
    assert count(database, Pass, Pass.state == PassState.FAILED) == 2
    assert_sound(database)


def test_a_retry_of_another_job_makes_nothing_whole_that_is_not(database: Database) -> None:
    """It opens the failed pair again while a job that waits for the recording is being finished."""
    first, second = submit(database), submit(database)
    for _ in range(2):
        plan(database, must(claim(database, PLAN)), facts(2))
    fail(database, must(claim(database, UNDERSTAND)))
    understand(database, must(claim(database, UNDERSTAND)))
    finishes = [must(claim(database, FINISH)) for _ in range(2)]
    early, late = sorted(finishes, key=lambda one: one.job_id != first)
    finish(database, early)
    again = retry(database, first)
    plan(database, must(claim(database, PLAN)), facts(2))
    finish(database, late)

    assert states_of(database, second) == [LinkState.PARTIAL]
    with database.read() as session:
        [(link, _)] = list_job_recordings(session, "default", second)
    assert "1 of 2 chunk requests failed" in (link.error_message or "")
    run_all(database)
    assert states_of(database, again) == [LinkState.SUCCEEDED]
    assert_sound(database)


def test_a_plan_whose_job_was_deleted_meanwhile_leaves_no_recording(database: Database) -> None:
    job_id = submit(database)
    found = must(claim(database, PLAN))
    with database.read() as session:
        work = load_plan(session, found)
    remove(database, job_id)
    while pending := claim(database, RETIRE):
        retire(database, pending)
    assert count(database, JobRecording) == 0
    with pytest.raises(LeaseLost, match="deleted"), database.write() as session:
        register_recording(session, found, work, "v1", 100)
    assert count(database, Recording) == 0


def test_chunks_in_quarantine_are_heard_again_only_when_that_is_asked(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(2))
    poison = must(claim(database, UNDERSTAND))
    for _ in range(MAX_CRASHES):
        expire(database, poison)
        with database.write() as session:
            return_expired(session, find_expired(session)[0])
            session.execute(update(Pass).where(Pass.id == poison.pass_id).values(not_before=None))
        poison = next(
            (one for _ in range(2) if (one := claim(database, UNDERSTAND)) and one.pass_id == poison.pass_id),
            poison,
        )
    with database.write() as session:
        session.execute(
            update(Pass).where(Pass.state == PassState.LEASED).values(state=PassState.READY, lease_until=None)
        )
    run_all(database)
    assert pass_of(database, poison.pass_id).error_code == "worker_crashed"
    same = submit(database)
    assert run_all(database) == 0  # an ordinary job leaves it alone, and says so
    assert job_of(database, same).state == JobState.PARTIAL
    again = retry(database, job_id)
    assert run_all(database) == 1
    assert job_of(database, again).state == JobState.SUCCEEDED
    assert_sound(database)


def test_a_retry_that_is_cancelled_leaves_its_chunks_to_whoever_asks_next(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(2))
    fail(database, must(claim(database, UNDERSTAND)))
    run_all(database)
    again = retry(database, job_id)
    plan(database, must(claim(database, PLAN)), None)
    cancel(database, again)
    third = submit(database)
    assert run_all(database) == 1
    assert job_of(database, third).state == JobState.SUCCEEDED
    assert_sound(database)


def test_a_failed_finish_is_retried_without_hearing_anything(database: Database) -> None:
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(2))
    for _ in range(2):
        understand(database, must(claim(database, UNDERSTAND)))
    fail(database, must(claim(database, FINISH)))
    assert job_of(database, job_id).state == JobState.FAILED
    again = retry(database, job_id)
    assert run_all(database) == 0
    assert job_of(database, again).state == JobState.SUCCEEDED
    assert count(database, Segment) == 2


def test_findings_that_a_retry_has_overtaken_are_not_stored(database: Database) -> None:
    """A slow finish of the old answers must not stand where those of all chunks belong."""
    job_id = submit(database)
    plan(database, must(claim(database, PLAN)), facts(2))
    fail(database, must(claim(database, UNDERSTAND)))
    understand(database, must(claim(database, UNDERSTAND)))
    slow = must(claim(database, FINISH))
    other = submit(database)  # waits for nothing, so its finish could be as slow
    plan(database, must(claim(database, PLAN)), None)
    late = must(claim(database, FINISH))
    from support.lives import segment_row

    from db.finishing import NewFindings, complete_finish, load_finish

    with database.read() as session:
        [old] = load_finish(session, late).requests
    finish(database, slow)
    retry(database, job_id)
    plan(database, must(claim(database, PLAN)), None)
    understand(database, must(claim(database, UNDERSTAND)))
    with database.write() as session:
        complete_finish(session, late, [NewFindings(old.id, [segment_row(0)], [], None, old.chunks_done)])
    run_all(database)
    assert count(database, Segment) == 2
    assert job_of(database, other).state in (JobState.SUCCEEDED, JobState.PARTIAL)
    assert_sound(database)


def test_a_retry_of_a_job_that_hears_everything_again_does_so_too(database: Database) -> None:
    submit(database, request("caption"))
    run_all(database)
    old = submit(database, request("caption"), if_seen=IfSeen.REDO)
    fail(database, must(claim(database, PLAN)))

    new = retry(database, old)

    assert run_all(database) == 2, "both chunks are heard, although the archive has their captions"
    assert states_of(database, new) == [LinkState.SUCCEEDED]
    assert count(database, Recording) == 2
    assert_sound(database)


def test_a_retry_of_what_was_heard_again_in_part_hears_only_the_rest(database: Database) -> None:
    submit(database, request("caption"))
    run_all(database)
    old = submit(database, request("caption"), if_seen=IfSeen.REDO)
    plan(database, must(claim(database, PLAN)), facts(2))
    fail(database, must(claim(database, UNDERSTAND)))
    run_all(database)
    assert states_of(database, old) == [LinkState.PARTIAL]

    new = retry(database, old)

    assert run_all(database) == 1
    assert states_of(database, new) == [LinkState.SUCCEEDED]
    extend(database, new, request("caption"))
    assert run_all(database) == 0
    assert count(database, Recording) == 2, "both go on with the recording that the first made"
    assert_sound(database)


def test_nothing_is_retried_that_did_not_fail(database: Database) -> None:
    job_id = submit(database)
    with pytest.raises(JobNotOver, match="queued"):
        retry(database, job_id)
    run_all(database)
    with pytest.raises(NothingToRetry):
        retry(database, job_id)
    assert count(database, Job) == 1  # the attempt left nothing behind


def test_what_a_cancel_cut_off_is_retried_when_that_is_asked(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/1", "s3://b/2"))
    plan(database, must(claim(database, PLAN)), facts(2))
    understand(database, must(claim(database, UNDERSTAND)))
    cancel(database, job_id)
    with pytest.raises(NothingToRetry):
        retry(database, job_id)
    again = retry(database, job_id, cancelled=True)
    assert run_all(database) == 3
    assert job_of(database, again).state == JobState.SUCCEEDED
    assert_sound(database)


def test_asking_more_runs_only_what_is_missing_and_reads_no_object(database: Database) -> None:
    first = submit(database, request("transcribe"), uris=("s3://b/1", "s3://b/2"))
    run_all(database)
    more = extend(database, first, request("transcribe"), request("caption"))
    found = must(claim(database, PLAN))
    with database.read() as session:
        work = load_plan(session, found)
    assert work.recording is not None
    assert work.needs_timeline
    with database.write() as session:
        complete_plan(session, found, work.recording.id, None, lambda task, _, speech: True)
    assert run_all(database) == 4
    assert job_of(database, more).state == JobState.SUCCEEDED
    asked = [one.request_ids for one in _passes(database, UNDERSTAND) if one.job_id == more]
    assert [len(ids) for ids in asked] == [1] * 4
    assert count(database, Result) == 8
    assert_sound(database)


def _passes(database: Database, kind: str) -> list[Pass]:
    with database.read() as session:
        return list(session.scalars(select(Pass).where(Pass.kind == kind)))


def test_a_job_without_recordings_cannot_be_asked_more(database: Database) -> None:
    job_id = submit(database)
    cancel(database, job_id)
    with pytest.raises(NothingToAsk):
        extend(database, job_id, request("caption"))


def rows(database: Database) -> dict[str, int]:
    return {
        table.__tablename__: count(database, table)
        for table in (
            Job,
            JobRecording,
            Recording,
            RecordingRequest,
            Chunk,
            Pass,
            Result,
            Segment,
            Annotation,
        )
    }


def test_a_deleted_job_leaves_nothing_but_its_events(database: Database) -> None:
    job_id = submit(
        database, uris=("upload://01a00000-0000-7000-8000-000000000000/a.wav", "s3://b/2", "s3://b/3")
    )
    run_all(database)
    remove(database, job_id)
    with pytest.raises(NotFound):
        job_of(database, job_id)  # from the first moment on
    gone = retire(database, must(claim(database, RETIRE)))
    assert set(rows(database).values()) == {0}
    assert len(gone) == 4  # three timelines and an upload
    with database.read() as session:
        assert session.scalars(select(Event.kind).order_by(Event.id.desc()).limit(1)).one() == "job.deleted"
    with pytest.raises(NotFound):
        remove(database, job_id)


def test_deleting_takes_nothing_that_another_job_links_to(database: Database) -> None:
    upload = "upload://01a00000-0000-7000-8000-000000000000/a.wav"
    first = submit(database, request("transcribe"), uris=(upload, "s3://b/own"))
    run_all(database)
    second = submit(database, request("transcribe"), request("caption"), uris=(upload,))
    run_all(database)
    remove(database, first)
    gone = retire(database, must(claim(database, RETIRE)))
    assert gone == ["file:///timeline.pcm"]  # that of its own recording
    assert job_of(database, second).state == JobState.SUCCEEDED
    left = rows(database)
    assert (left["jobs"], left["recordings"], left["results"], left["segments"]) == (1, 1, 4, 4)
    assert_sound(database)
    remove(database, second)
    assert len(retire(database, must(claim(database, RETIRE)))) == 2
    assert set(rows(database).values()) == {0}


def test_a_running_job_is_cancelled_and_deleted(database: Database) -> None:
    job_id = submit(database, uris=("s3://b/1", "s3://b/2"))
    plan(database, must(claim(database, PLAN)), facts(2))
    held = must(claim(database, UNDERSTAND))
    remove(database, job_id)
    retire(database, must(claim(database, RETIRE)))
    with pytest.raises(LeaseLost):
        understand(database, held)
    assert set(rows(database).values()) == {0}


def test_every_table_that_refers_to_a_job_is_emptied_by_a_delete(database: Database) -> None:
    """A new table with a foreign key to jobs must be thought of in ``db.deleting``."""
    referring = {
        table.name
        for table in Table.metadata.tables.values()
        if any(key.column.table.name == "jobs" for key in table.foreign_keys)
    }
    assert referring == {"job_recordings", "job_requests", "job_sources", "passes", "webhook_deliveries"}
    job_id = submit(database)
    with database.write() as session:
        session.add(JobSource(tenant="default", job_id=job_id, position=0, kind="prefix", uri="s3://b/"))
    remove(database, job_id)
    retire(database, must(claim(database, RETIRE)))
    assert count(database, Job) == 0


def test_the_time_of_a_job_is_counted_from_its_acceptance(database: Database) -> None:
    job_id = submit(database, ttl_hours=2.0)
    job = job_of(database, job_id)
    assert job.expires_at is not None
    assert abs((job.expires_at - job.created_at).total_seconds() - 7_200) < 5


@pytest.mark.parametrize(
    ("of_old", "by_default", "expected"),
    [(2.0, 24.0, 2.0), (2.0, None, 2.0), (None, 24.0, 24.0), (None, None, None)],
)
def test_a_job_made_of_another_lives_as_long_counted_anew(
    database: Database, of_old: float | None, by_default: float | None, expected: float | None
) -> None:
    old = submit(database, request("caption"), uris=("s3://b/bad", "s3://b/good"), ttl_hours=of_old)
    fail(database, must(claim(database, PLAN)))
    run_all(database)
    with database.write() as session:  # accepted an hour ago
        session.execute(update(Job).values(created_at=database_now(-3_600)))
        if of_old is not None:
            session.execute(update(Job).values(expires_at=database_now((of_old - 1) * 3_600)))
    for new in (
        retry(database, old, ttl_hours=by_default),
        extend(database, old, request("scene"), ttl_hours=by_default),
    ):
        job = job_of(database, new)
        if expected is None:
            assert job.expires_at is None
        else:
            assert job.expires_at is not None
            assert abs((job.expires_at - job.created_at).total_seconds() - expected * 3_600) < 5


def test_a_timeline_is_dropped_only_when_nobody_needs_it_and_comes_back_the_same(database: Database) -> None:
    submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    with database.write() as session:
        session.execute(update(Recording).values(timeline_used_at=database_now(-40 * 86_400)))
    with database.write() as session:
        [recording_id] = find_unused_timelines(session, 30)
        assert drop_timeline(session, recording_id, 30) is None  # a pass still wants it
    run_all(database)
    with database.write() as session:
        assert drop_timeline(session, recording_id, 50) is None
        assert drop_timeline(session, recording_id, 30) == "file:///timeline.pcm"
    with database.read() as session:
        assert named_timelines(session, [recording_id]) == set()

    more = submit(database, request("caption"))
    found = must(claim(database, PLAN))
    with pytest.raises(TimelineDropped):
        plan(database, found, None)
    other = vars(facts(1)) | {"timeline_sha256": "1" * 64}
    with pytest.raises(TimelineDiffers):
        plan(database, found, type(facts(1))(**other))
    assert plan(database, found, facts(1)).used
    assert count(database, Chunk) == 1
    assert run_all(database) == 1
    assert job_of(database, more).state == JobState.SUCCEEDED


def test_a_job_that_needs_nothing_more_needs_no_timeline(database: Database) -> None:
    first = submit(database)
    run_all(database)
    with database.write() as session:
        session.execute(update(Recording).values(timeline_uri=None))
    again = submit(database)
    assert not plan(database, must(claim(database, PLAN)), None).understand
    run_all(database)
    assert [job_of(database, one).state for one in (first, again)] == [JobState.SUCCEEDED] * 2


def test_results_that_nobody_asked_any_more_are_not_stored(database: Database) -> None:
    first = submit(database, request("transcribe"), request("caption"))
    plan(database, must(claim(database, PLAN)), facts(1))
    submit(database, request("caption"))
    plan(database, must(claim(database, PLAN)), None)
    held = must(claim(database, UNDERSTAND))
    cancel(database, first)
    with database.write() as session:
        complete_understand(session, held, results(held))  # the worker still brings both
    assert count(database, Result) == 1
    assert_sound(database)


def test_passes_of_a_cancelled_job_in_front_hold_up_nobody(database: Database) -> None:
    blocked = submit(database, uris=tuple(f"s3://b/{number}" for number in range(20)), priority=9)
    with database.write() as session:
        session.execute(
            update(Job).where(Job.id == blocked).values(state=JobState.CANCELLED, finished_at=database_now())
        )
    wanted = submit(database, uris=("s3://b/x",))
    with database.write() as session:
        claims: list[Claim] = claim_passes(session, PLAN, "w", lease_seconds=30, limit=4)
    assert [one.job_id for one in claims] == [wanted]


def test_a_retry_lists_on_where_a_sources_listing_failed(database: Database) -> None:
    job_id = submit(database)
    with database.write() as session:
        for position, (cursor, taken) in enumerate([("page-2", 4), (None, 0)]):
            session.add(
                JobSource(
                    tenant="default", job_id=job_id, position=position, kind="prefix", uri="s3://b/", glob="*.wav",
                    cursor=cursor, objects_seen=5, objects_taken=taken, state="failed",
                    finished_at=database_now(),
                )
            )  # fmt: skip
    run_all(database)
    assert job_of(database, job_id).state == JobState.PARTIAL
    again = job_of(database, retry(database, job_id))
    assert (again.sources_open, again.recordings_total, again.state) == (2, 0, JobState.QUEUED)
    with database.read() as session:
        copies = session.scalars(
            select(JobSource).where(JobSource.job_id == again.id).order_by(JobSource.position)
        ).all()
    found = [(one.state, one.cursor, one.objects_seen, one.glob) for one in copies]
    assert found == [("expanding", "page-2", 5, "*.wav"), ("expanding", None, 0, "*.wav")]
    assert count(database, Pass, Pass.job_id == again.id, Pass.kind == "expand") == 2
    cancel(database, again.id)
    assert count(database, JobSource, JobSource.state == "cancelled") == 2
    assert_sound(database)


def test_a_retry_takes_what_a_cancel_cut_off_of_a_listing_too_where_that_is_asked(database: Database) -> None:
    job_id = submit(database)
    with database.write() as session:
        for position, state in enumerate(["expanding", "expanded", "failed"]):
            session.add(
                JobSource(
                    tenant="default", job_id=job_id, position=position, kind="prefix", uri=f"s3://{state}/",
                    cursor="page-2", objects_seen=5, objects_taken=4, state=state,
                    finished_at=None if state == "expanding" else database_now(),
                )
            )  # fmt: skip
        session.execute(update(Job).where(Job.id == job_id).values(sources_open=1))
    cancel(database, job_id)

    def listed(again: str) -> list[tuple[str, str | None]]:
        with database.read() as session:
            rows = session.scalars(
                select(JobSource).where(JobSource.job_id == again).order_by(JobSource.position)
            )
            return [(one.uri, one.cursor) for one in rows]

    first = retry(database, job_id)
    assert listed(first) == [("s3://failed/", "page-2")]
    cancel(database, first)
    assert listed(retry(database, job_id, cancelled=True)) == [
        ("s3://expanding/", "page-2"),
        ("s3://failed/", "page-2"),
    ]


def test_a_retry_of_a_large_job_does_not_wait_until_all_of_it_is_counted_as_cancelled(
    database: Database,
) -> None:
    job_id = submit(database, uris=tuple(f"s3://b/{number}" for number in range(PAGE + 20)))
    cancel(database, job_id)
    assert count(database, JobRecording, JobRecording.state == LinkState.CANCELLED) == PAGE
    again = retry(database, job_id, cancelled=True)
    assert job_of(database, again).recordings_total == PAGE + 20


def test_what_a_cancel_cut_off_is_asked_no_more_whether_it_is_counted_yet_or_not(database: Database) -> None:
    uris = tuple(f"s3://b/{number}" for number in range(PAGE + 20))
    job_id = submit(database, uris=uris)
    with database.write() as session:
        last = select(JobRecording.id).where(JobRecording.job_id == job_id, JobRecording.uri == uris[-1])
        session.execute(
            update(JobRecording).where(JobRecording.id.in_(last)).values(state=LinkState.SUCCEEDED)
        )
    cancel(database, job_id)
    assert job_of(database, extend(database, job_id, request("caption"))).recordings_total == 1


def test_no_finish_is_opened_for_a_job_that_was_cancelled_meanwhile(database: Database) -> None:
    first, second = submit(database), submit(database)
    plan(database, must(claim(database, PLAN)), facts(1))
    plan(database, must(claim(database, PLAN)), None)
    held = must(claim(database, UNDERSTAND))
    with database.write() as session:  # cancelled, and not retired yet
        session.execute(
            update(Job).where(Job.id == second).values(state=JobState.CANCELLED, finished_at=database_now())
        )
    understand(database, held)
    with database.read() as session:
        opened = session.scalars(select(Pass.job_id).where(Pass.kind == FINISH)).all()
    assert opened == [first]
