"""Expand passes over real stores: folders, a paging S3 stub, and manifests in all their forms."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.jobs import submit

import workers.expand
from bench.s3_stub import etag, s3_stub
from db.claiming import claim_passes
from db.queries import get_job, list_sources
from db.states import JobState, PassKind, PassState, SourceKind, SourceState
from db.submitting import NewSource
from db.tables import JobRecording, Pass, SourceError
from storage import S3Options, folder_uri, open_store
from workers.attempt import Ending, attempt
from workers.context import WorkerContext
from workers.expand import expand
from workers.leases import Lease, LeaseKeeper


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A folder of 25 recordings, some of them in folders, and other things."""
    folder = tmp_path / "archive"
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(20):
        (folder / f"{number:02}.wav").write_bytes(b"x" * number)
    for number in range(5):
        (folder / "deep" / "er" / f"{number}.mp3").write_bytes(b"y")
    for name in ("notes.txt", "deep/cover.jpg", ".hidden.wav"):
        (folder / name).touch()
    return folder


@pytest.fixture
def at_archive(context: WorkerContext, archive: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    """A worker that may read the archive, in pages of four."""
    monkeypatch.setattr(workers.expand, "PAGE_OBJECTS", 4)
    return replace(context, store=open_store(context.settings.resolved_storage_url, roots=[archive]))


def prefix(uri: str, glob: str | None = None) -> NewSource:
    return NewSource(SourceKind.PREFIX, uri, glob)


def manifest(context: WorkerContext, data: bytes, name: str = "list") -> NewSource:
    folder = context.settings.data_dir / "archive"
    (folder / name).write_bytes(data)
    return NewSource(SourceKind.MANIFEST, folder_uri(folder / name))


def work(context: WorkerContext, keeper: LeaseKeeper, *, worker: str = "w1", act: Any = expand) -> Ending:
    with context.database.write() as session:
        (found,) = claim_passes(session, PassKind.EXPAND, worker, lease_seconds=30.0)
    return attempt(context, keeper, found, act)


def uris(context: WorkerContext, job_id: str) -> list[str]:
    with context.database.read() as session:
        query = select(JobRecording.uri).where(JobRecording.job_id == job_id).order_by(JobRecording.position)
        return list(session.scalars(query))


def source(context: WorkerContext, job_id: str) -> Any:
    with context.database.read() as session:
        (found,) = list_sources(session, "default", job_id)
    return found


def test_a_folder_becomes_recordings_in_pages(
    at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path
) -> None:
    job_id = submit(at_archive.database, uris=(), sources=[prefix(folder_uri(archive) + "/")])
    work(at_archive, keeper)
    found = source(at_archive, job_id)
    assert (found.state, found.objects_seen, found.objects_taken, found.objects_skipped) == (
        SourceState.EXPANDED, 28, 25, 3,
    )  # fmt: skip
    assert len(set(uris(at_archive, job_id))) == 25
    with at_archive.database.read() as session:
        link = session.scalars(select(JobRecording).where(JobRecording.uri.like("%/07.wav"))).one()
        assert (link.size_bytes, link.version) == (7, at_archive.store.head(link.uri).version)
        plans = session.scalars(select(Pass).where(Pass.kind == PassKind.PLAN)).all()
    assert len({one.job_recording_id for one in plans}) == 25
    assert sum(count for kind, _, count in at_archive.doorbell.rings if kind == PassKind.PLAN) == 25


def test_a_glob_says_which(at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path) -> None:
    job_id = submit(at_archive.database, uris=(), sources=[prefix(folder_uri(archive) + "/", "**/*.mp3")])
    work(at_archive, keeper)
    assert [uri.rsplit("/", 1)[1] for uri in uris(at_archive, job_id)] == [f"{n}.mp3" for n in range(5)]


@pytest.mark.parametrize("crash_at", [0, 1, 5])
def test_a_worker_that_dies_between_pages_leaves_nothing_out_and_nothing_twice(
    at_archive: WorkerContext,
    keeper: LeaseKeeper,
    archive: Path,
    monkeypatch: pytest.MonkeyPatch,
    crash_at: int,
) -> None:
    job_id = submit(at_archive.database, uris=(), sources=[prefix(folder_uri(archive) + "/")])
    take_page, taken = workers.expand.take_page, []

    def dying(*arguments: Any, **more: Any) -> int:
        if len(taken) == crash_at:
            raise OSError("the machine is gone")
        taken.append(take_page(*arguments, **more))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(workers.expand, "take_page", dying)
        work(at_archive, keeper)
    assert len(uris(at_archive, job_id)) == sum(taken) < 25
    with at_archive.database.write() as session:
        session.execute(Pass.__table__.update().values(not_before=None))
    work(at_archive, keeper, worker="w2")
    assert len(uris(at_archive, job_id)) == len(set(uris(at_archive, job_id))) == 25
    assert source(at_archive, job_id).objects_seen == 28


def test_a_long_listing_gives_way_after_its_slice(
    at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.expand, "SLICE_SECONDS", -1.0)
    job_id = submit(at_archive.database, uris=(), sources=[prefix(folder_uri(archive) + "/")])
    endings = []
    while source(at_archive, job_id).state == SourceState.EXPANDING:
        endings.append(work(at_archive, keeper))
    assert endings == [*[Ending.RELEASED] * 7, Ending.DONE]  # seven pages of four, and the end
    assert len(uris(at_archive, job_id)) == 25
    assert (PassKind.EXPAND, "", 1) in at_archive.doorbell.rings


def test_a_listing_rests_while_as_many_recordings_wait_as_may(
    at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.expand, "FULL_PAUSE_SECONDS", 0.05)
    full = replace(at_archive, settings=at_archive.settings.model_copy(update={"max_queued": 10}))
    job_id = submit(full.database, uris=(), sources=[prefix(folder_uri(archive) + "/")])

    assert work(full, keeper) is Ending.RELEASED

    assert len(uris(full, job_id)) == 11  # three pages: the last began below the limit
    with full.database.read() as session:
        row = session.scalars(select(Pass).where(Pass.kind == PassKind.EXPAND)).one()
        assert (row.state, row.attempts, row.not_before is not None) == (PassState.READY, 0, True)
    time.sleep(0.1)
    with monkeypatch.context() as patched:
        patched.setattr(type(full.store), "list", lambda *_, **__: pytest.fail("listed for nothing"))
        assert work(full, keeper) is Ending.RELEASED
    assert len(uris(full, job_id)) == 11  # nothing was done meanwhile
    time.sleep(0.1)
    work(at_archive, keeper)  # the limit was raised
    assert len(uris(at_archive, job_id)) == 25


def test_a_lease_that_is_lost_ends_the_work(
    at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path
) -> None:
    job_id = submit(at_archive.database, uris=(), sources=[prefix(folder_uri(archive) + "/")])

    def lose_then_expand(context: WorkerContext, lease: Lease) -> None:
        lease.lose()
        expand(context, lease)

    work(at_archive, keeper, act=lose_then_expand)
    assert uris(at_archive, job_id) == []


@pytest.mark.parametrize(
    ("where", "code"),
    [("file:///etc/", "input_access_denied"), ("file:///{archive}/nothing/", "no_objects")],
)
def test_what_cannot_be_listed_fails_the_job_with_a_code(
    at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path, where: str, code: str
) -> None:
    uri = where.replace("/{archive}", str(archive))
    job_id = submit(at_archive.database, uris=(), sources=[prefix(uri)])
    work(at_archive, keeper)
    found = source(at_archive, job_id)
    assert (found.state, found.error_code) == (SourceState.FAILED, code)
    assert uri.rstrip("/") in found.error_message
    with at_archive.database.read() as session:
        assert get_job(session, "default", job_id).state == JobState.FAILED


def test_uploads_of_other_tenants_are_never_taken(at_archive: WorkerContext, keeper: LeaseKeeper) -> None:
    ours = at_archive.settings.data_dir / "objects" / "uploads" / "other" / "id"
    ours.mkdir(parents=True)
    (ours / "secret.wav").write_bytes(b"x")
    uri = folder_uri(at_archive.settings.data_dir / "objects") + "/"
    job_id = submit(at_archive.database, uris=(), sources=[prefix(uri, "**")])
    work(at_archive, keeper)
    assert uris(at_archive, job_id) == []
    assert source(at_archive, job_id).objects_skipped == 1


def test_s3_is_listed_in_pages_and_errors_are_tried_again(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    keys = sorted(
        [f"calls/{n:05}.wav" for n in range(2_500)] + ["calls/\x01.wav", "calls/a b+ü%2e.wav", "callz"]
    )
    with s3_stub(keys, fail_first=2) as endpoint:
        options = S3Options(endpoint, "us-east-1", True, "key", "secret")
        at_s3 = replace(context, store=open_store(context.settings.resolved_storage_url, s3=options))
        job_id = submit(at_s3.database, uris=(), sources=[prefix("s3://bucket/calls/")])
        work(at_s3, keeper)
    found = source(at_s3, job_id)
    assert (found.state, found.objects_seen, found.objects_taken) == (SourceState.EXPANDED, 2_502, 2_501)
    expected = [f"s3://bucket/{key}" for key in keys if "\x01" not in key and key != "callz"]
    assert uris(at_s3, job_id) == expected
    with at_s3.database.read() as session:
        versions = dict(session.execute(select(JobRecording.uri, JobRecording.version)).all())
    assert versions["s3://bucket/calls/00007.wav"] == etag("calls/00007.wav")


LINES = [{"uri": f"s3://bk/{n}.wav", "metadata": {"n": n}, "tracking": f"t{n}"} for n in range(11)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_manifest_brings_its_notes_along(at_archive: WorkerContext, keeper: LeaseKeeper, pack: Any) -> None:
    text = "\n".join(json.dumps(line) for line in [*LINES, LINES[3], {"uri": "nothing"}, {"url": 1}])
    job_id = submit(
        at_archive.database,
        uris=(),
        sources=[manifest(at_archive, pack(text.encode()))],
        tracking="of the job",
    )
    work(at_archive, keeper)
    with at_archive.database.read() as session:
        links = session.scalars(select(JobRecording).order_by(JobRecording.position)).all()
        errors = session.execute(select(SourceError.line, SourceError.code).order_by(SourceError.line)).all()
    assert [(one.uri, one.client_metadata, one.tracking) for one in links] == [
        tuple(line.values()) for line in LINES
    ]
    assert [tuple(error) for error in errors] == [(13, "invalid_uri"), (14, "unknown_field")]
    found = source(at_archive, job_id)
    assert (found.objects_seen, found.objects_taken, found.lines_bad) == (14, 11, 2)


def test_a_manifest_goes_on_behind_its_last_page_unless_it_changed(
    at_archive: WorkerContext, keeper: LeaseKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers.expand, "SLICE_SECONDS", -1.0)
    text = "\n".join(line["uri"] for line in LINES)  # type: ignore[misc]
    first = submit(at_archive.database, uris=(), sources=[manifest(at_archive, text.encode(), "a")])
    while source(at_archive, first).state == SourceState.EXPANDING:
        work(at_archive, keeper)
    assert uris(at_archive, first) == [line["uri"] for line in LINES]

    second = submit(at_archive.database, uris=(), sources=[manifest(at_archive, text.encode(), "b")])
    work(at_archive, keeper)
    manifest(at_archive, b"s3://bk/other.wav", "b")
    work(at_archive, keeper)
    found = source(at_archive, second)
    assert (found.state, found.error_code, found.objects_taken) == (SourceState.FAILED, "input_changed", 4)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (None, "input_not_found"),
        (b"RIFF\xff\xff\xff\xffWAVE", "manifest_not_text"),
        (b"name,place\n", "manifest_invalid"),
        (b"", "no_objects"),
        (b"s3://bk/1.wav\n" * 200, "manifest_too_large"),
        (gzip.compress(b"x" * 10_000_000, mtime=0), "manifest_too_large"),
    ],
)
def test_what_is_no_manifest_fails_its_source(
    at_archive: WorkerContext, keeper: LeaseKeeper, data: bytes | None, code: str
) -> None:
    settings = at_archive.settings.model_copy(
        update={"max_job_recordings": 100, "max_manifest_bytes": 1_000_000}
    )
    at = replace(at_archive, settings=settings)
    named = manifest(at, data or b"")
    if data is None:
        (settings.data_dir / "archive" / "list").unlink()
    job_id = submit(at.database, uris=(), sources=[named])
    work(at, keeper)
    found = source(at, job_id)
    assert (found.state, found.error_code) == (SourceState.FAILED, code)
    with at.database.read() as session:
        assert session.scalars(select(Pass.state).where(Pass.kind == PassKind.EXPAND)).one() in (
            PassState.FAILED,
            PassState.DONE,
        )


def test_more_objects_than_a_job_may_have_fail_the_source_and_keep_the_rest(
    at_archive: WorkerContext, keeper: LeaseKeeper, archive: Path
) -> None:
    at = replace(at_archive, settings=at_archive.settings.model_copy(update={"max_job_recordings": 10}))
    job_id = submit(at.database, uris=(), sources=[prefix(folder_uri(archive) + "/")])
    work(at, keeper)
    found = source(at, job_id)
    assert (found.state, found.error_code) == (SourceState.FAILED, "too_many_objects")
    assert 0 < len(uris(at, job_id)) <= 10
