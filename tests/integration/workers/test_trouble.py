"""A machine that has nothing left costs no recording its tries, and works again by itself."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from chaos import fakes
from sqlalchemy import select, update
from support.jobs import claim, request, submit
from support.servers import wait_until

from db.claims import Claim, hold
from db.clock import database_now
from db.database import Database
from db.setbacks import MAX_ERRORS, PATIENCE_SECONDS
from db.states import PassKind, PassState
from db.tables import Event, Pass, Recording
from db.workers import WorkerReport, list_loading, list_served, list_troubles, list_workers, report_worker
from storage import open_store
from storage.errors import StorageUnavailable
from storage.s3_options import S3Options
from storage.uploads import resolve_source
from workers import rest as resting
from workers.attempt import Ending, attempt
from workers.context import WorkerContext
from workers.heartbeat import report_of
from workers.leases import Lease, LeaseKeeper
from workers.plan import plan
from workers.rest import Rest
from workers.runner import Lane, Runner
from workers.understand import read_samples


def take(context: WorkerContext) -> Claim:
    with context.database.write() as session:
        session.execute(update(Pass).where(Pass.state == PassState.READY).values(not_before=None))
    found = claim(context.database, PassKind.PLAN, worker=context.name, lease=30.0)
    assert found is not None
    return found


def only(context: WorkerContext) -> Pass:
    with context.database.read() as session:
        return session.scalars(select(Pass)).one()


def no_room(context: WorkerContext, lease: Lease) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/scratch")


def complete(context: WorkerContext, lease: Lease) -> None:
    with context.database.write() as session:
        hold(session, lease.claim)


def test_a_full_disk_costs_a_pass_no_attempt_however_often(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    submit(context.database)
    for _ in range(MAX_ERRORS + 2):
        assert attempt(context, keeper, take(context), no_room) is Ending.TROUBLED
        stored = only(context)
        assert (stored.state, stored.attempts, stored.errors) == (PassState.READY, 0, 0)
    assert stored.error_code == "disk_full"
    assert "w1" in (stored.error_message or "")
    assert stored.not_before is not None
    with context.database.read() as session:
        told = session.scalars(select(Event).where(Event.kind == "pass.released")).all()
    assert [one.data["code"] for one in told] == ["disk_full"] * (MAX_ERRORS + 2)
    assert attempt(context, keeper, take(context), complete) is Ending.DONE


def test_a_pass_that_was_claimed_thousands_of_times_is_put_aside_as_any_other(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    """As that of a listing, which takes turns."""
    submit(context.database)
    with context.database.write() as session:
        session.execute(update(Pass).values(epoch=5_000))
    assert attempt(context, keeper, take(context), no_room) is Ending.TROUBLED
    assert (only(context).state, only(context).attempts) == (PassState.READY, 0)


def test_after_a_day_tries_count_so_that_nothing_is_tried_without_end(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    submit(context.database)
    with context.database.write() as session:
        session.execute(update(Pass).values(created_at=database_now(-PATIENCE_SECONDS - 1)))
    for count in range(1, MAX_ERRORS + 1):
        attempt(context, keeper, take(context), no_room)
        assert only(context).errors == count
    assert (only(context).state, only(context).error_code) == (PassState.FAILED, "disk_full")


def test_a_real_plan_on_a_disk_without_room_fetches_nothing(
    context: WorkerContext, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = "upload://01a00000-0000-7000-8000-000000000000/a.wav"
    with context.store.writer(
        resolve_source(uri, "default", context.settings.resolved_storage_url)
    ) as writer:
        writer.write(b"RIFF" * 1000)
    submit(context.database, uris=(uri,))
    disk = type("Disk", (), {"total": 10**9, "free": 100})
    monkeypatch.setattr("workers.trouble.shutil.disk_usage", lambda _: disk)
    monkeypatch.setattr(type(context.store), "stream", lambda *_, **__: 1 / 0)
    lane = Rest("plan")
    assert attempt(context, keeper, take(context), plan, lane) is Ending.TROUBLED
    assert (lane.why or "").startswith("disk_full: [Errno 28]")
    assert list(context.scratch_dir.iterdir()) == []


@pytest.fixture
def _short_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resting, "LONGEST_SECONDS", 0.2)
    monkeypatch.setattr(resting, "FIRST_SECONDS", 0.2)


@pytest.mark.usefixtures("_short_rests")
def test_a_runner_in_trouble_rests_says_so_and_goes_on_when_it_is_over(context: WorkerContext) -> None:
    submit(context.database, uris=tuple(f"s3://b/{number}" for number in range(20)))
    is_full, tries = threading.Event(), []
    is_full.set()

    def work(context: WorkerContext, lease: Lease) -> None:
        tries.append(lease.claim.pass_id)
        (no_room if is_full.is_set() else complete)(context, lease)

    runner = Runner(context, [Lane(PassKind.PLAN, 4, work)], poll_seconds=0.05)
    runner.start()
    try:
        wait_until(lambda: runner.trouble is not None, 10, "a rest")
        time.sleep(0.7)
        assert len(tries) <= 4 + 5  # its places, and then one for each pause
        with context.database.write() as session:
            report_worker(session, report_of(context, "cpu", runner))
        with context.database.read() as session:
            ((worker, alive),) = list_workers(session)
            assert alive
            assert (worker.trouble or "").startswith("disk_full: ")
            assert list_troubles(session) == {"cpu": "disk_full"}
        is_full.clear()
        with context.database.write() as session:
            session.execute(update(Pass).values(not_before=None))
        wait_until(lambda: runner.counts.read().get("done_plan") == 20, 20, "the end of all")
        assert runner.trouble is None
        assert runner.counts.read()["troubled_plan"] >= 4
    finally:
        runner.stop(1.0)


@pytest.mark.usefixtures("_short_rests")
def test_a_storage_that_is_gone_costs_few_recordings_their_tries(context: WorkerContext) -> None:
    submit(context.database, uris=tuple(f"s3://b/{number}" for number in range(60)))

    def gone(context: WorkerContext, lease: Lease) -> None:
        raise StorageUnavailable("s3://b: no answer")

    runner = Runner(context, [Lane(PassKind.PLAN, 2, gone)], poll_seconds=0.02)
    runner.start()
    time.sleep(0.9)
    assert (runner.trouble or "").startswith("storage_unavailable: ")
    runner.stop(1.0)
    assert runner.counts.read()["failed_plan"] <= resting.OUTAGES_IN_A_ROW + 2 + 5


@pytest.fixture
def with_source(context: WorkerContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    """A worker for whose archive one recording waits, that it decodes by copying."""
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "a.pcm").write_bytes(fakes.make_pcm(1, 1))
    monkeypatch.setattr("workers.plan.ingest", fakes.copy_ingest)
    submit(context.database, request("caption"), uris=((archive / "a.pcm").as_uri(),))
    store = open_store(context.settings.resolved_storage_url, roots=(archive,))
    return replace(context, store=store)


def test_a_storage_that_is_not_there_costs_no_recording_its_tries(
    with_source: WorkerContext, keeper: LeaseKeeper
) -> None:
    objects = with_source.settings.data_dir / "objects"
    objects.write_text("a file")
    lane = Rest("plan")
    for _ in range(MAX_ERRORS + 1):
        assert attempt(with_source, keeper, take(with_source), plan, lane) is Ending.TROUBLED
    stored = only(with_source)
    assert (stored.state, stored.errors, stored.error_code) == (PassState.READY, 0, "storage_misconfigured")
    assert "EARWITNESS_STORAGE_URL" in (stored.error_message or "")
    assert (lane.why or "").startswith("storage_misconfigured: ")

    objects.unlink()
    assert attempt(with_source, keeper, take(with_source), plan, lane) is Ending.DONE
    assert lane.why is None


def test_a_storage_of_ours_on_a_disk_that_is_read_only_says_that(
    with_source: WorkerContext, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("workers.plan.private_folder", lambda *_: nullcontext(with_source.scratch_dir))
    assert attempt(with_source, keeper, take(with_source), plan) is Ending.TROUBLED
    assert only(with_source).error_code == "disk_read_only"


def test_a_timeline_that_was_deleted_behind_our_back_is_no_trouble_of_the_storage(
    with_source: WorkerContext, keeper: LeaseKeeper
) -> None:
    assert attempt(with_source, keeper, take(with_source), plan) is Ending.DONE
    with with_source.database.read() as session:
        uri = session.scalars(select(Recording.timeline_uri)).one()
    assert uri is not None
    with_source.store.delete(uri)
    lane = Rest("understand")
    heard = claim(with_source.database, PassKind.UNDERSTAND, worker="w1", lease=30.0)
    assert heard is not None

    def hear(context: WorkerContext, lease: Lease) -> None:
        read_samples(context, context.understanding.load(lease.claim))

    assert attempt(with_source, keeper, heard, hear, lane) is Ending.FAILED
    with with_source.database.read() as session:
        failed = session.get_one(Pass, heard.pass_id)
        assert (failed.state, failed.error_code) == (PassState.FAILED, "input_not_found")
    assert lane.why is None


def test_a_storage_that_answers_nobody_costs_no_recording_its_tries(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    submit(context.database, uris=("s3://calls/a.wav",))
    s3 = S3Options(
        endpoint_url="http://127.0.0.1:9", access_key_id="x", secret_access_key="x", region="x", attempts=1
    )
    gone = replace(context, store=open_store(context.settings.resolved_storage_url, s3=s3))
    lane = Rest("plan")
    for _ in range(MAX_ERRORS + 1):
        assert attempt(gone, keeper, take(gone), plan, lane) is Ending.TROUBLED
    stored = only(context)
    assert (stored.state, stored.errors, stored.error_code) == (PassState.READY, 0, "storage_unavailable")
    assert "s3://calls/a.wav: the store did not answer" in (lane.why or "")


def test_an_object_that_alone_does_not_come_is_given_up_after_its_tries(
    with_source: WorkerContext, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object, uri: str, **__: object) -> Iterator[bytes]:
        raise StorageUnavailable(f"{uri}: Input/output error", uri=uri)

    monkeypatch.setattr(type(with_source.store), "stream", broken)
    lane = Rest("plan")
    for count in range(1, MAX_ERRORS + 1):
        assert attempt(with_source, keeper, take(with_source), plan, lane) is Ending.FAILED
        assert only(with_source).errors == count
    assert only(with_source).state == PassState.FAILED


def test_a_kind_of_worker_is_in_trouble_only_when_all_of_it_are(context: WorkerContext) -> None:
    runner = Runner(context, [Lane(PassKind.PLAN, 1, complete)], poll_seconds=1.0)
    report = report_of(context, "cpu", runner)
    with context.database.write() as session:
        for name, trouble in (("one", "disk_full: x"), ("other", None)):
            report_worker(session, type(report)(**{**vars(report), "name": name, "trouble": trouble}))
        assert list_troubles(session) == {}
        report_worker(session, type(report)(**{**vars(report), "name": "other", "draining": True}))
        assert list_troubles(session) == {"cpu": "disk_full"}


def test_a_worker_that_loads_its_model_does_not_rest(database: Database) -> None:
    def report(name: str, trouble: str | None) -> None:
        with database.write() as session:
            report_worker(session, WorkerReport(name, "gpu", "h", 1, model="mini", trouble=trouble))

    def found() -> tuple[Sequence[str], Set[str], Mapping[str, str]]:
        with database.read() as session:
            return list_served(session), list_loading(session), list_troubles(session)

    report("one", "loading: the model mini is being loaded")
    assert found() == (["mini"], {"mini"}, {})
    report("two", "disk_full: x")
    assert found() == (["mini"], set(), {})
    report("one", "disk_full: y")
    assert found() == (["mini"], set(), {"gpu": "disk_full"})
