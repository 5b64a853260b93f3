"""Prefixes and manifests become recordings page by page, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from sqlalchemy import func, select, update
from support.jobs import claim, facts, plan, request, results, submit
from support.lives import must, retry

from db.claims import Claim, Failure, JobCancelled, LeaseLost, put_back
from db.database import Database
from db.expanding import (
    MAX_ERRORS_KEPT,
    NewSourceError,
    SourcePage,
    TooManyObjects,
    complete_expansion,
    load_expansion,
    take_page,
)
from db.failures import fail_pass, return_expired
from db.finishing import NewFindings, complete_finish, load_finish
from db.links import NewLink
from db.planning import load_plan
from db.queries import get_job, list_source_errors, list_sources
from db.registering import register_recording, skip_if_seen
from db.setbacks import MAX_CRASHES
from db.states import IfSeen, JobState, LinkState, PassKind, PassState, SourceKind, SourceState
from db.submitting import NewSource
from db.tables import Event, Job, JobRecording, Pass, Recording, RecordingRequest, SourceError
from db.understanding import complete_understand

PREFIX = NewSource(SourceKind.PREFIX, "s3://b/calls/")
MANIFEST = NewSource(SourceKind.MANIFEST, "s3://b/list.jsonl")


def archive(database: Database, *sources: NewSource, uris: tuple[str, ...] = (), **more: Any) -> str:
    return submit(database, uris=uris, sources=sources or (PREFIX,), **more)


def expanding(database: Database, worker: str = "w1") -> Claim:
    found = claim(database, PassKind.EXPAND, worker=worker)
    assert found is not None
    return found


def page(*numbers: int, **more: Any) -> SourcePage:
    links = [NewLink(f"s3://b/calls/{n}.wav", version=f"v{n}", size_bytes=n) for n in numbers]
    more = {"cursor": str(max(numbers, default=0)), "seen": len(numbers), **more}
    return SourcePage(links, **more)


def take(database: Database, found: Claim, one: SourcePage, most: int = 1_000) -> int:
    with database.write() as session:
        return take_page(session, found, one, lease_seconds=30.0, most_recordings=most)


def complete(database: Database, found: Claim) -> None:
    with database.write() as session:
        complete_expansion(session, found)


def job_of(database: Database, job_id: str) -> Job:
    with database.read() as session:
        return get_job(session, "default", job_id)


def source_of(database: Database, job_id: str, place: int = 0) -> Any:
    with database.read() as session:
        return list_sources(session, "default", job_id)[place]


def links_of(database: Database, job_id: str) -> list[JobRecording]:
    with database.read() as session:
        query = select(JobRecording).where(JobRecording.job_id == job_id).order_by(JobRecording.position)
        return list(session.scalars(query))


def run_all(database: Database) -> None:
    while found := claim(database, PassKind.PLAN):
        with database.write() as session:
            work = load_plan(session, found)
            version = next(
                iter(session.scalars(select(JobRecording.version).where(JobRecording.id == work.link_id)))
            )
            recording = register_recording(session, found, work, version or "v1", 100)
        if work.if_seen == IfSeen.SKIP:
            with database.write() as session:
                if skip_if_seen(session, found, work, recording):
                    continue
        plan(database, found, facts(), version or "v1")
    while found := claim(database, PassKind.UNDERSTAND):
        with database.write() as session:
            complete_understand(session, found, results(found))
    while found := claim(database, PassKind.FINISH):
        with database.read() as session:
            work_found = load_finish(session, found)
        with database.write() as session:
            complete_finish(session, found, [NewFindings(r.id, [], []) for r in work_found.requests])


def test_pages_become_recordings_and_the_job_ends_when_all_are_heard(database: Database) -> None:
    job_id = archive(database, uris=("s3://b/one.wav",), tracking="order-12")
    run_all(database)
    assert job_of(database, job_id).state == JobState.RUNNING  # the source is still open
    found = expanding(database)
    assert take(database, found, page(1, 2, seen=5, skipped=3)) == 2
    assert take(database, found, page(3)) == 1
    run_all(database)
    assert job_of(database, job_id).state == JobState.RUNNING
    complete(database, found)

    job, source = job_of(database, job_id), source_of(database, job_id)
    assert (job.state, job.recordings_total, job.sources_open) == (JobState.SUCCEEDED, 4, 0)
    assert (source.state, source.cursor) == (SourceState.EXPANDED, "3")
    assert (source.objects_seen, source.objects_taken, source.objects_skipped) == (6, 3, 3)
    links = links_of(database, job_id)
    assert [(link.position, link.uri, link.version) for link in links[1:]] == [
        (n, f"s3://b/calls/{n}.wav", f"v{n}") for n in (1, 2, 3)
    ]
    assert {link.source_id for link in links[1:]} == {source.id}
    assert {link.tracking for link in links} == {"order-12"}
    with database.read() as session:
        kinds = session.scalars(select(Event.kind).where(Event.job_id == job_id).order_by(Event.id)).all()
    assert kinds[0] == "job.accepted"
    assert kinds[-2:] == ["source.expanded", "job.succeeded"]


def test_a_claim_says_that_the_job_runs(database: Database) -> None:
    job_id = archive(database)
    expanding(database)
    assert job_of(database, job_id).state == JobState.RUNNING


def test_after_a_crash_another_worker_goes_on_behind_the_last_page(database: Database) -> None:
    job_id = archive(database)
    dead = expanding(database)
    take(database, dead, page(1, 2))
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == dead.pass_id).values(lease_until=func.now()))
    with database.write() as session:
        assert return_expired(session, dead) == PassState.READY
    heir = expanding(database, "w2")
    with database.read() as session:
        assert load_expansion(session, heir).cursor == "2"
    for write in (lambda: take(database, dead, page(3)), lambda: complete(database, dead)):
        with pytest.raises(LeaseLost):
            write()
    assert len(links_of(database, job_id)) == 2
    take(database, heir, page(3))
    complete(database, heir)
    assert [link.uri[-5] for link in links_of(database, job_id)] == ["1", "2", "3"]
    assert job_of(database, job_id).recordings_total == 3


def test_a_page_that_is_taken_again_doubles_nothing(database: Database) -> None:
    job_id = archive(database)
    found = expanding(database)
    take(database, found, page(1, 2))
    assert take(database, found, page(1, 2, 3, 3)) == 1
    assert Counter(link.uri for link in links_of(database, job_id)).most_common(1)[0][1] == 1
    assert job_of(database, job_id).recordings_total == 3


def test_an_object_of_two_sources_comes_once(database: Database) -> None:
    job_id = archive(database, PREFIX, MANIFEST, uris=("s3://b/calls/1.wav",))
    for numbers in ((1, 2), (2, 3)):
        found = expanding(database)
        take(database, found, page(*numbers))
        complete(database, found)
    run_all(database)
    assert [link.uri[-5] for link in links_of(database, job_id)] == ["1", "2", "3"]
    assert job_of(database, job_id).state == JobState.SUCCEEDED


def test_pages_forgive_what_went_wrong_before_them(database: Database) -> None:
    archive(database)
    for number in range(MAX_CRASHES + 1):
        found = expanding(database)
        take(database, found, page(number))
        with database.write() as session:
            session.execute(update(Pass).where(Pass.id == found.pass_id).values(lease_until=func.now()))
        with database.write() as session:
            assert return_expired(session, found) == PassState.READY


def test_without_progress_crashes_end_it(database: Database) -> None:
    job_id = archive(database)
    states = []
    for _ in range(MAX_CRASHES):
        with database.write() as session:
            session.execute(update(Pass).values(not_before=None))
        found = expanding(database)
        with database.write() as session:
            session.execute(update(Pass).where(Pass.id == found.pass_id).values(lease_until=func.now()))
        with database.write() as session:
            states.append(return_expired(session, found))
    assert states[-1] == PassState.FAILED
    source = source_of(database, job_id)
    assert (source.state, source.error_code) == (SourceState.FAILED, "worker_crashed")
    assert job_of(database, job_id).state == JobState.FAILED


def test_a_long_source_gives_way_and_goes_on(database: Database) -> None:
    archive(database)
    other = archive(database, tenant="other")
    found = expanding(database)
    take(database, found, page(1))
    with database.write() as session:
        assert put_back(session, found)
    assert expanding(database).job_id == other
    again = expanding(database)
    assert (again.pass_id, again.epoch, again.attempts) == (found.pass_id, found.epoch + 1, 1)


def test_a_cancelled_job_takes_no_more_pages(database: Database) -> None:
    job_id = archive(database)
    found = expanding(database)
    with database.write() as session:
        session.execute(update(Job).values(state=JobState.CANCELLED))
    for write in (lambda: take(database, found, page(1)), lambda: complete(database, found)):
        with pytest.raises(JobCancelled):
            write()
    assert links_of(database, job_id) == []


@pytest.mark.parametrize(
    ("source", "pages", "says"),
    [
        (PREFIX, [], "nothing lies under"),
        (PREFIX, [page(seen=7, skipped=7)], "none of its 7 objects is audio by its name"),
        (NewSource(SourceKind.PREFIX, "s3://b/", "*.wav"), [page(seen=7, skipped=7)], "fits the glob"),
        (MANIFEST, [], "names nothing"),
        (MANIFEST, [page(seen=1, errors=[NewSourceError(1, "x", "y")])], "none of its 1 lines"),
    ],
)
def test_a_source_that_gives_nothing_fails_the_job_and_says_why(
    database: Database, source: NewSource, pages: list[SourcePage], says: str
) -> None:
    job_id = archive(database, source)
    found = expanding(database)
    for one in pages:
        take(database, found, one)
    complete(database, found)
    stored = source_of(database, job_id)
    assert (stored.state, stored.error_code) == (SourceState.FAILED, "no_objects")
    assert says in stored.error_message
    job = job_of(database, job_id)
    assert (job.state, job.recordings_total) == (JobState.FAILED, 0)
    assert job.finished_at is not None


def test_a_job_with_one_failed_source_ends_partial(database: Database) -> None:
    job_id = archive(database, PREFIX, MANIFEST)
    first = expanding(database)
    take(database, first, page(1))
    complete(database, first)
    run_all(database)
    assert job_of(database, job_id).state == JobState.RUNNING
    second = expanding(database)
    with database.write() as session:
        failure = Failure("input_not_found", "there is no such object", retryable=False)
        assert fail_pass(session, second, failure) == PassState.FAILED
    assert source_of(database, job_id, 1).error_code == "input_not_found"
    assert job_of(database, job_id).state == JobState.PARTIAL


def test_bad_lines_make_a_job_partial_and_the_first_thousand_are_kept(database: Database) -> None:
    job_id = archive(database, MANIFEST)
    found = expanding(database)
    take(database, found, page(1))
    for first in (0, 700):
        errors = [NewSourceError(first + n, "line_not_json", "no JSON") for n in range(700)]
        take(database, found, page(seen=700, errors=errors, cursor=str(first)))
    complete(database, found)
    run_all(database)
    source = source_of(database, job_id)
    assert (source.state, source.lines_bad) == (SourceState.EXPANDED, 1_400)
    assert job_of(database, job_id).state == JobState.PARTIAL
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(SourceError)) == MAX_ERRORS_KEPT
        shown = list_source_errors(session, "default", job_id, source.id, after=998, limit=5)
    assert [error.line for error in shown] == [999]


def test_a_job_has_only_so_many_recordings(database: Database) -> None:
    job_id = archive(database, uris=("s3://b/one.wav",))
    found = expanding(database)
    take(database, found, page(1), most=3)
    with pytest.raises(TooManyObjects, match="EARWITNESS_MAX_JOB_RECORDINGS"):
        take(database, found, page(2, 3), most=3)
    assert job_of(database, job_id).recordings_total == 2


@pytest.mark.parametrize("listed", [True, False], ids=["as listed", "found by the plan"])
def test_skip_leaves_what_has_all_that_is_asked(database: Database, listed: bool) -> None:
    first = archive(database)
    found = expanding(database)
    take(database, found, page(1, 2))
    complete(database, found)
    run_all(database)

    def again(*requests: Any) -> Job:
        job_id = submit(database, *requests, uris=(), sources=(PREFIX,), if_seen=IfSeen.SKIP)
        found = expanding(database)
        one = page(1, 2, 3)
        if not listed:
            one = SourcePage([NewLink(link.uri, version=None) for link in one.links], "3", 3)
        take(database, found, one)
        complete(database, found)
        return job_of(database, job_id)

    with database.write() as session:  # a listing of other versions is not what the archive has
        session.execute(update(Recording).where(Recording.uri.like("%/2.wav")).values(version="other"))
    second = again()
    assert second.recordings_skipped == (1 if listed else 0)
    with database.write() as session:
        if not listed:
            session.execute(update(Recording).values(version="v1"))
    run_all(database)
    second = job_of(database, second.id)
    assert second.state == JobState.SUCCEEDED
    expected = ["skipped", "succeeded", "succeeded"] if listed else ["skipped", "skipped", "succeeded"]
    assert [link.state for link in links_of(database, second.id)] == expected
    assert second.recordings_skipped == expected.count("skipped")
    assert second.recordings_done + second.recordings_skipped == second.recordings_total == 3
    assert all(link.recording_id for link in links_of(database, second.id))
    more = again(request("transcribe"), request("caption"))
    run_all(database)
    assert job_of(database, more.id).recordings_skipped == 0
    assert job_of(database, first).state == JobState.SUCCEEDED


def test_skip_does_not_leave_what_was_heard_in_part(database: Database) -> None:
    submit(database)
    run_all(database)
    with database.write() as session:
        heard = RecordingRequest.chunks_done - 1
        session.execute(update(RecordingRequest).values(chunks_failed=1, chunks_done=heard))
    second = submit(database, if_seen=IfSeen.SKIP)
    run_all(database)
    assert links_of(database, second)[0].state == LinkState.PARTIAL


@pytest.mark.parametrize("listed", [True, False])
def test_skip_does_not_leave_one_object_for_what_was_found_in_another(
    database: Database, listed: bool
) -> None:
    caption, scene = request("caption"), request("scene")
    for number, asked in ((1, (caption, scene)), (2, (caption,))):
        submit(database, *asked, uris=(), sources=(PREFIX,))
        found = expanding(database)
        take(database, found, page(number))
        complete(database, found)
        run_all(database)

    second = submit(database, caption, scene, uris=(), sources=(PREFIX,), if_seen=IfSeen.SKIP)
    found = expanding(database)
    both = page(1, 2)
    if not listed:
        both = SourcePage([NewLink(link.uri, version=None) for link in both.links], "2", 2)
        with database.write() as session:
            session.execute(update(Recording).values(version="v1"))
    take(database, found, both)
    complete(database, found)
    run_all(database)

    assert [link.state for link in links_of(database, second)] == ["skipped", "succeeded"]


def test_a_retry_of_a_job_that_skips_leaves_what_the_archive_has_and_hears_what_was_left_half_done(
    database: Database,
) -> None:
    archive(database)
    found = expanding(database)
    take(database, found, page(3, 4))
    complete(database, found)
    run_all(database)
    old = archive(database, if_seen=IfSeen.SKIP)
    found = expanding(database)
    take(database, found, page(1, 2, 3))
    with database.write() as session:
        fail_pass(session, found, Failure("input_access_denied", "no", retryable=False))
    planned = must(claim(database, PassKind.PLAN))
    plan(database, planned, facts(2), "v1")
    for kind in (PassKind.UNDERSTAND, PassKind.PLAN):
        with database.write() as session:
            fail_pass(session, must(claim(database, kind)), Failure("internal_error", "no", retryable=False))
    run_all(database)
    assert [link.state for link in links_of(database, old)] == ["partial", "failed", "skipped"]

    new = retry(database, old)
    found = expanding(database)
    assert take(database, found, page(4, 5)) == 1
    complete(database, found)
    run_all(database)

    assert [link.state for link in links_of(database, new)] == [
        "succeeded", "succeeded", "skipped", "succeeded",
    ]  # fmt: skip


def test_redo_hears_all_again_as_one_new_recording(database: Database) -> None:
    submit(database)
    run_all(database)
    second = submit(database, if_seen=IfSeen.REDO)
    found = claim(database, PassKind.PLAN)
    assert found is not None
    with database.write() as session:
        work = load_plan(session, found)
        made = register_recording(session, found, work, "v1", 100)
    with database.write() as session:  # a second attempt of the same pass
        assert register_recording(session, found, work, "v1", 100).id == made.id
    plan(database, found, facts())
    with database.write() as session:
        assert register_recording(session, found, work, "v1", 100).id == made.id
    run_all(database)
    assert job_of(database, second).state == JobState.SUCCEEDED
    with database.read() as session:
        rows = session.execute(select(Recording.generation).order_by(Recording.generation)).scalars().all()
        assert rows == [0, 1]
        assert session.scalar(select(func.count()).where(Pass.kind == PassKind.UNDERSTAND)) == 4
    submit(database)  # reuse takes the newest
    run_all(database)
    with database.read() as session:
        newest = session.scalars(select(Recording.id).where(Recording.generation == 1)).one()
        linked = session.scalars(select(JobRecording.recording_id).order_by(JobRecording.id.desc())).first()
    assert linked == newest


def test_redo_of_what_nobody_has_heard_is_a_first_hearing(database: Database) -> None:
    submit(database, if_seen=IfSeen.REDO)
    run_all(database)
    with database.read() as session:
        assert session.scalars(select(Recording.generation)).all() == [0]
