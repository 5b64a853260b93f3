"""Retire work, cancels as workers see them, repairs, and what is given back: on a real database and folder."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from support.jobs import claim, facts, plan, request, submit
from support.lives import (
    FINISH,
    PLAN,
    RETIRE,
    UNDERSTAND,
    assert_sound,
    cancel,
    count,
    extend,
    finish,
    job_of,
    must,
    remove,
    run_all,
    understand,
)

from db.claims import Claim, LeaseLost
from db.clock import database_now
from db.planning import load_plan
from db.repairing import find_idle
from db.states import JobState, LinkState, PassState
from db.tables import (
    IdempotencyKey,
    Job,
    JobRecording,
    Leader,
    Pass,
    Recording,
    RecordingRequest,
    Worker,
)
from storage.uploads import resolve_source
from workers import plan as planning
from workers.attempt import attempt
from workers.context import WorkerContext
from workers.housekeeping import Housekeeper
from workers.leases import Lease, LeaseKeeper
from workers.plan import SourceGone, timeline_name
from workers.reconcile import Reconciler, check_counts, repair
from workers.retire import retire

UPLOAD = "upload://01a00000-0000-7000-8000-000000000000/a.wav"


def write(context: WorkerContext, uri: str, age_hours: float = 0.0) -> str:
    """Store an object as of some hours ago."""
    import os

    with context.store.writer(uri) as writer:
        writer.write(b"x")
    then = time.time() - age_hours * 3600
    os.utime(uri.removeprefix("file://"), (then, then))
    return uri


def exists(uri: str) -> bool:
    return Path(uri.removeprefix("file://")).exists()


def planned(context: WorkerContext) -> Recording:
    """Submit a job, plan it with a timeline that exists, and hear all of it."""
    submit(context.database, uris=(UPLOAD,))
    found = must(claim(context.database, PLAN))
    recording_id = "01a00000-0000-7000-8000-000000000001"
    uri = timeline_name(context.settings.resolved_storage_url, found, recording_id)
    plan(context.database, found, type(facts())(**(vars(facts(1)) | {"timeline_uri": uri})))
    run_all(context.database)
    with context.database.write() as session:
        recording = session.scalars(select(Recording)).one()
        proper = timeline_name(context.settings.resolved_storage_url, found, recording.id)
        recording.timeline_uri = proper
    write(context, proper, 2)
    write(context, resolve_source(UPLOAD, "default", context.settings.resolved_storage_url), 24 * 30)
    return recording


def test_the_work_of_a_cancelled_job_stops_within_two_seconds(context: WorkerContext) -> None:
    """The lease is long, so that only the look for lost passes can tell."""
    keeper = LeaseKeeper(context.database, 60.0)
    job_id = submit(context.database)
    plan(context.database, must(claim(context.database, PLAN)), facts(1))
    held = must(claim(context.database, UNDERSTAND, worker=context.name))
    started, stopped = threading.Event(), threading.Event()

    def hear(context: WorkerContext, lease: Lease) -> None:
        started.set()
        try:
            while True:
                lease.check()
                time.sleep(0.02)
        except LeaseLost:
            stopped.set()
            raise

    thread = threading.Thread(target=attempt, args=(context, keeper, held, hear))
    thread.start()
    assert started.wait(5)
    cancelled_at = time.monotonic()
    cancel(context.database, job_id)
    assert stopped.wait(10)
    assert time.monotonic() - cancelled_at < 2.0 + 3.0  # a busy machine gets three more
    thread.join()
    keeper.close()
    assert_sound(context.database)


def test_retiring_deletes_the_objects_that_no_row_names_any_more(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    recording = planned(context)
    [job] = _jobs(context)
    remove(context.database, job.id)
    attempt(context, keeper, must(claim(context.database, RETIRE, worker=context.name)), retire)
    assert recording.timeline_uri is not None
    assert not exists(recording.timeline_uri)
    assert not exists(resolve_source(UPLOAD, "default", context.settings.resolved_storage_url))
    assert count(context.database, Job) == count(context.database, Pass) == 0


def _jobs(context: WorkerContext) -> list[Job]:
    with context.database.read() as session:
        return list(session.scalars(select(Job)))


def test_two_epochs_never_write_to_the_same_timeline(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where ids would collide: the epoch alone keeps a stale worker from overwriting what won."""
    monkeypatch.setattr(planning, "new_id", lambda: "id")
    names = {
        timeline_name("file:///o", Claim("p", PLAN, epoch, "w", "default", "j"), "r") for epoch in (1, 2, 3)
    }
    assert len(names) == 3


def test_a_stale_planner_leaves_an_orphan_that_is_collected_and_nothing_else(context: WorkerContext) -> None:
    recording = planned(context)
    assert recording.timeline_uri is not None
    url = context.settings.resolved_storage_url
    stale = Claim("p", PLAN, 7, "w", "default", "j")
    old = write(context, timeline_name(url, stale, recording.id), age_hours=2)
    of_nobody = write(context, timeline_name(url, stale, "01a00000-0000-7000-8000-00000000000f"), age_hours=2)
    young = write(context, timeline_name(url, stale, recording.id))
    foreign = write(context, f"{url}/timelines/readme.txt", age_hours=2)
    keeper = Housekeeper(context)
    keeper.collect_orphans()  # the first round only begins to list
    assert keeper.collect_orphans() == 2
    assert [exists(uri) for uri in (old, of_nobody, young, foreign, recording.timeline_uri)] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_an_unused_timeline_is_dropped_and_the_recording_stays(context: WorkerContext) -> None:
    recording = planned(context)
    assert Housekeeper(context).drop_timelines() == 0
    with context.database.write() as session:
        session.execute(update(Recording).values(timeline_used_at=database_now(-31 * 86_400)))
    assert Housekeeper(context).drop_timelines() == 1
    assert recording.timeline_uri is not None
    assert not exists(recording.timeline_uri)
    assert count(context.database, Recording, Recording.timeline_uri.is_(None)) == 1


def test_a_source_that_is_gone_or_changed_says_so_when_its_timeline_is_wanted(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    planned(context)
    [job] = _jobs(context)
    with context.database.write() as session:
        session.execute(update(Recording).values(timeline_uri=None))
    for gone in (False, True):
        if gone:
            context.store.delete(resolve_source(UPLOAD, "default", context.settings.resolved_storage_url))
        more = extend(context.database, job.id, request("caption"))
        found = must(claim(context.database, PLAN, worker=context.name))
        attempt(context, keeper, found, planning.plan)
        with context.database.read() as session:
            link = session.scalars(select(JobRecording).where(JobRecording.job_id == more)).one()
        assert (link.state, link.error_code) == (LinkState.FAILED, SourceGone.code)
        assert ("cannot be had" if gone else "has changed") in (link.error_message or "")


def test_only_uploads_that_no_job_names_are_deleted_after_their_time(context: WorkerContext) -> None:
    planned(context)
    url = context.settings.resolved_storage_url
    unused = "upload://01a00000-0000-7000-8000-000000000009/b.wav"
    old = write(context, resolve_source(unused, "default", url), age_hours=24 * 8)
    young = write(context, resolve_source(unused.replace("9/", "8/"), "default", url), age_hours=24)
    keeper = Housekeeper(context)
    keeper.collect_uploads()
    assert keeper.collect_uploads() == 1
    used = resolve_source(UPLOAD, "default", url)
    assert [exists(uri) for uri in (old, young, used)] == [False, True, True]


def test_what_writers_left_unfinished_is_swept_after_a_day(context: WorkerContext) -> None:
    import os

    folder = Path(context.settings.resolved_storage_url.removeprefix("file://")) / "timelines"
    folder.mkdir(parents=True)
    parts = [folder / f".earwitness-{name}.part" for name in ("old", "new")]
    for part in parts:
        part.write_bytes(b"x")
    os.utime(parts[0], (time.time() - 90_000, time.time() - 90_000))
    assert Housekeeper(context).sweep_unfinished() == 1
    assert [part.exists() for part in parts] == [False, True]


def test_old_keys_and_dead_workers_are_forgotten(context: WorkerContext) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=30)
    with context.database.write() as session:
        for name, at in (("old", long_ago), ("new", datetime.now(UTC))):
            session.add(IdempotencyKey(tenant="default", key=name, request_sha256="0", created_at=at))
            session.add(Worker(name=name, kind="cpu", host="h", pid=1, seen_at=at))
    done = Housekeeper(context).round()
    assert (done["keys"], done["workers"]) == (1, 1)
    assert count(context.database, IdempotencyKey) == count(context.database, Worker) == 1


def test_a_job_whose_time_has_come_is_cancelled_and_removed(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    submit(context.database, uris=("s3://b/1", "s3://b/2"), ttl_hours=1e-7)
    plan(context.database, must(claim(context.database, PLAN)), facts(1))
    time.sleep(0.01)
    assert repair(context) == 1
    assert repair(context) == 0
    attempt(context, keeper, must(claim(context.database, RETIRE, worker=context.name)), retire)
    assert count(context.database, Job) == count(context.database, Recording) == 0


@pytest.mark.parametrize("kind", [PLAN, UNDERSTAND, FINISH])
def test_work_that_is_in_nobodys_hands_is_opened_again(context: WorkerContext, kind: str) -> None:
    job_id = submit(context.database)
    if kind != PLAN:
        plan(context.database, must(claim(context.database, PLAN)), facts(2))
    if kind == FINISH:
        for _ in range(2):
            understand(context.database, must(claim(context.database, UNDERSTAND)))
    with context.database.write() as session:
        session.execute(delete(Pass).where(Pass.kind == kind, Pass.state == PassState.READY))
    with context.database.read() as session:
        assert [one.kind for one in find_idle(session)] == [FINISH if kind == FINISH else PLAN]
    assert repair(context) == 1
    assert repair(context) == 0
    if kind == UNDERSTAND:
        found = must(claim(context.database, PLAN))
        with context.database.read() as session:
            assert load_plan(session, found).needs_timeline
        plan(context.database, found, None)
    run_all(context.database)
    assert job_of(context.database, job_id).state == JobState.SUCCEEDED
    assert_sound(context.database)


def test_counters_that_are_wrong_are_repaired_with_an_alert(
    context: WorkerContext, caplog: pytest.LogCaptureFixture
) -> None:
    done = submit(context.database)
    run_all(context.database)
    stuck = submit(context.database, uris=("s3://b/other",))
    plan(context.database, must(claim(context.database, PLAN)), facts(2))
    understand(context.database, must(claim(context.database, UNDERSTAND)))
    understand(context.database, must(claim(context.database, UNDERSTAND)))
    finish(context.database, must(claim(context.database, FINISH)))
    with context.database.write() as session:
        session.execute(update(Job).where(Job.id == done).values(recordings_failed=3))
        session.execute(
            update(Job)
            .where(Job.id == stuck)
            .values(recordings_done=0, state=JobState.RUNNING, finished_at=None)
        )
    assert check_counts(context) == 2
    assert "counters of job" in caplog.text
    assert job_of(context.database, stuck).state == JobState.SUCCEEDED
    assert check_counts(context) == 0


def test_a_count_of_chunks_that_is_wrong_is_repaired_and_the_finish_starts(context: WorkerContext) -> None:
    job_id = submit(context.database)
    plan(context.database, must(claim(context.database, PLAN)), facts(2))
    understand(context.database, must(claim(context.database, UNDERSTAND)))
    with context.database.write() as session:
        session.execute(update(RecordingRequest).values(chunks_done=0))
    understand(context.database, must(claim(context.database, UNDERSTAND)))
    assert claim(context.database, FINISH) is None
    assert check_counts(context) == 1
    run_all(context.database)
    assert job_of(context.database, job_id).state == JobState.SUCCEEDED
    assert_sound(context.database)


def test_one_process_leads_until_it_ends_or_falls_silent(context: WorkerContext) -> None:
    from dataclasses import replace

    other = replace(context, name="w2")
    first, second = _still(context), _still(other)
    assert first.round()
    assert not second.round()
    assert first.round()
    with context.database.read() as session:
        assert session.scalars(select(Leader.holder)).one() == "w1"
    with context.database.write() as session:
        session.execute(update(Leader).values(until=database_now(-1)))
    assert second.round()
    assert not first.round()
    second.close()
    assert first.round()


def _still(context: WorkerContext) -> Reconciler:
    """A reconciler whose own thread has ended, so that the test decides when it does a round."""
    reconciler = Reconciler(context)
    reconciler._ended.set()
    reconciler._thread.join()
    reconciler._ended.clear()
    return reconciler
