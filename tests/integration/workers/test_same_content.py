"""Objects of the same bytes are heard once, for jobs that know objects by their content."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from chaos import fakes
from sqlalchemy import func, select, update
from support.jobs import claim, request, submit
from support.lives import RETIRE, extend, must, remove, retire, run_all

import workers.plan
from db.claims import Claim
from db.database import Database
from db.planning import load_plan
from db.registering import register_recording, take_twin
from db.states import Identity, IfSeen, LinkState, PassKind
from db.tables import Chunk, JobRecording, Pass, Recording
from settings import Settings
from storage import open_store
from storage.errors import StorageUnavailable
from storage.uploads import resolve_source, upload_uri
from workers.context import WorkerContext
from workers.doorbell import SilentDoorbell
from workers.leases import Lease
from workers.plan import SourceGone, plan

CAPTION = request("caption", style="clotho")
SCENE = request("scene")


class Archive:
    """A folder of recordings, and a worker that decodes them."""

    def __init__(self, context: WorkerContext, folder: Path) -> None:
        self.context, self.folder = context, folder
        self.decoded: list[str] = []

    def put(self, name: str, content: int = 1) -> str:
        path = self.folder / name
        path.write_bytes(fakes.make_pcm(content, 1))
        return path.as_uri()

    def plan(self) -> None:
        """Work on every plan pass that is ready."""
        while found := claim(self.context.database, PassKind.PLAN):
            plan(self.context, Lease(found))

    def hear(self, *uris: str, requests: Sequence[Any] = (CAPTION,), **more: Any) -> str:
        """Submit a job and work until nothing is ready; return its id."""
        job_id = submit(self.context.database, *requests, uris=uris, **more)
        self.plan()
        run_all(self.context.database)
        return job_id

    def links(self, job_id: str) -> list[JobRecording]:
        with self.context.database.read() as session:
            query = select(JobRecording).where(JobRecording.job_id == job_id)
            return list(session.scalars(query.order_by(JobRecording.position)))

    def upload(self, content: int = 1) -> str:
        """Store an upload as the API does."""
        uri = upload_uri(str(uuid4()), "a.pcm")
        with self.context.store.writer(self.location(uri)) as writer:
            writer.write(fakes.make_pcm(content, 1))
        return uri

    def location(self, uri: str) -> str:
        return resolve_source(uri, "default", self.context.settings.resolved_storage_url)

    def delete(self, job_id: str) -> None:
        """Delete a job with all that no other names."""
        remove(self.context.database, job_id)
        for gone in retire(self.context.database, must(claim(self.context.database, RETIRE))):
            self.context.store.delete(self.location(gone))

    def drop_timelines(self) -> None:
        with self.context.database.write() as session:
            session.execute(update(Recording).values(timeline_uri=None))

    def recordings(self) -> int:
        with self.context.database.read() as session:
            return session.scalar(select(func.count()).select_from(Recording)) or 0


@pytest.fixture
def archive(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    folder = tmp_path / "archive"
    folder.mkdir()
    settings = Settings(data_dir=tmp_path, lease_seconds=30.0)
    settings.scratch_dir.mkdir()
    store = open_store(settings.resolved_storage_url, roots=(folder,))
    context = WorkerContext("w1", settings, database, store, SilentDoorbell(), settings.scratch_dir)
    archive = Archive(context, folder)

    def counted(*given: Any) -> Any:
        archive.decoded.append(given[0].name)
        return fakes.copy_ingest(*given)

    monkeypatch.setattr(workers.plan, "ingest", counted)
    return archive


def test_a_copy_shares_the_recording_of_the_first_and_nothing_runs_again(archive: Archive) -> None:
    first = archive.hear(archive.put("a.pcm"))
    second = archive.hear(archive.put("copy.pcm"), identity=Identity.CONTENT)

    assert (len(archive.decoded), archive.recordings()) == (1, 1)
    (mine,), (theirs,) = archive.links(first), archive.links(second)
    assert mine.recording_id == theirs.recording_id
    assert (mine.state, theirs.state) == (LinkState.SUCCEEDED, LinkState.SUCCEEDED)
    assert theirs.uri.endswith("copy.pcm")


def test_by_version_a_copy_is_another_object(archive: Archive) -> None:
    archive.hear(archive.put("a.pcm"))
    archive.hear(archive.put("copy.pcm"))
    assert (len(archive.decoded), archive.recordings()) == (2, 2)


def test_other_bytes_another_tenant_and_other_channels_are_no_copies(archive: Archive) -> None:
    archive.hear(archive.put("a.pcm"))
    archive.hear(archive.put("other.pcm", content=2), identity=Identity.CONTENT)
    archive.hear(archive.put("theirs.pcm"), identity=Identity.CONTENT, tenant="another")
    archive.hear(archive.put("split.pcm"), identity=Identity.CONTENT, channels="split")
    assert (len(archive.decoded), archive.recordings()) == (4, 4)


def test_a_copy_of_what_was_heard_is_skipped_where_the_job_says_so(archive: Archive) -> None:
    archive.hear(archive.put("a.pcm"))
    skipping = {"identity": Identity.CONTENT, "if_seen": IfSeen.SKIP}
    copy = archive.put("copy.pcm")
    (link,) = archive.links(archive.hear(copy, **skipping))
    assert link.state == LinkState.SKIPPED
    more = archive.hear(copy, requests=(CAPTION, SCENE), **skipping)
    assert archive.links(more)[0].state == LinkState.SUCCEEDED
    assert len(archive.decoded) == 1


def test_redo_hears_a_copy_again(archive: Archive) -> None:
    archive.hear(archive.put("a.pcm"))
    archive.hear(archive.put("copy.pcm"), identity=Identity.CONTENT, if_seen=IfSeen.REDO)
    assert (len(archive.decoded), archive.recordings()) == (2, 2)


def test_a_copy_brings_a_timeline_back_that_was_dropped(archive: Archive) -> None:
    archive.hear(archive.put("a.pcm"))
    archive.drop_timelines()
    (archive.folder / "a.pcm").unlink()
    again = archive.hear(archive.put("copy.pcm"), identity=Identity.CONTENT)
    assert len(archive.decoded) == 1, "nothing is left to hear: no timeline is needed"
    more = archive.hear(archive.put("third.pcm"), requests=(SCENE,), identity=Identity.CONTENT)

    assert [archive.links(job)[0].state for job in (again, more)] == [LinkState.SUCCEEDED] * 2
    assert (len(archive.decoded), archive.recordings()) == (2, 1)
    with archive.context.database.read() as session:
        assert session.scalars(select(Recording.timeline_uri)).one() is not None


def test_copies_within_a_job_are_heard_once(archive: Archive) -> None:
    job_id = archive.hear(
        archive.put("a.pcm"), archive.put("b.pcm"), archive.put("c.pcm"), identity=Identity.CONTENT
    )
    assert {link.state for link in archive.links(job_id)} == {LinkState.SUCCEEDED}
    assert (len(archive.decoded), archive.recordings()) == (1, 1)
    with archive.context.database.read() as session:
        heard = select(func.count()).select_from(Pass).where(Pass.kind == PassKind.UNDERSTAND)
        assert session.scalar(heard) == session.scalar(select(func.count()).select_from(Chunk))


def test_a_recording_that_another_job_waits_for_stays(archive: Archive) -> None:
    archive.hear(archive.put("a.pcm"))
    copy = archive.put("copy.pcm")
    claims: list[Claim] = []
    for identity in (Identity.CONTENT, Identity.VERSION):
        submit(archive.context.database, SCENE, uris=(copy,), identity=identity)
        found = claim(archive.context.database, PassKind.PLAN)
        assert found is not None
        claims.append(found)
    with archive.context.database.write() as session:
        for found in claims:
            work = load_plan(session, found)
            recording = register_recording(session, found, work, "v", 1)
        content = session.scalars(
            select(Recording.content_sha256).where(Recording.content_sha256.is_not(None))
        ).one()
        work = load_plan(session, claims[0])
        twin = take_twin(session, claims[0], work, recording, content)
    assert twin is not None
    assert archive.recordings() == 2, "the other job is linked to it"


def test_what_has_a_recording_of_its_own_keeps_it(archive: Archive) -> None:
    first = archive.hear(archive.put("a.pcm"))
    second = archive.hear(copy := archive.put("copy.pcm"))
    archive.drop_timelines()
    third = archive.hear(copy, requests=(SCENE,), identity=Identity.CONTENT)

    own, same = archive.links(second)[0].recording_id, archive.links(third)[0].recording_id
    assert own == same != archive.links(first)[0].recording_id


@pytest.mark.parametrize("as_upload", [False, True])
def test_a_job_keeps_its_own_object_when_the_first_of_the_same_bytes_is_gone(
    archive: Archive, as_upload: bool
) -> None:
    sources = [archive.upload() if as_upload else archive.put(name) for name in ("a.pcm", "copy.pcm")]
    first, second = (archive.hear(uri, identity=Identity.CONTENT) for uri in sources)
    archive.delete(first)
    archive.context.store.delete(archive.location(sources[0]))
    archive.drop_timelines()

    more = extend(archive.context.database, second, SCENE)
    archive.plan()
    run_all(archive.context.database)

    assert archive.links(more)[0].state == LinkState.SUCCEEDED
    assert (len(archive.decoded), archive.recordings()) == (2, 1)


def test_a_touched_file_is_still_the_object_of_a_job_that_knew_it_by_its_bytes(archive: Archive) -> None:
    uri = archive.put("a.pcm")
    archive.hear(uri)
    os.utime(archive.folder / "a.pcm", (1, 1))
    touched = archive.hear(uri, identity=Identity.CONTENT)
    archive.drop_timelines()

    more = extend(archive.context.database, touched, SCENE)
    archive.plan()
    run_all(archive.context.database)

    assert archive.links(more)[0].state == LinkState.SUCCEEDED


@pytest.mark.parametrize("content", [None, 2])
def test_an_own_object_that_is_gone_or_has_other_bytes_brings_nothing_back(
    archive: Archive, content: int | None
) -> None:
    archive.hear(archive.put("a.pcm"))
    second = archive.hear(archive.put("copy.pcm"), identity=Identity.CONTENT)
    for name in ("a.pcm", "copy.pcm"):
        (archive.folder / name).unlink()
    if content is not None:
        archive.put("copy.pcm", content)
    archive.drop_timelines()

    extend(archive.context.database, second, SCENE)
    with pytest.raises(SourceGone, match=r"a\.pcm.*copy\.pcm"):
        archive.plan()
    assert len(archive.decoded) == 1, "it is compared before it is decoded"


def test_by_version_a_job_has_no_object_but_the_one_that_was_heard(archive: Archive) -> None:
    uri = archive.put("a.pcm")
    first = archive.hear(uri)
    os.utime(archive.folder / "a.pcm", (1, 1))
    archive.drop_timelines()

    extend(archive.context.database, first, SCENE)
    with pytest.raises(SourceGone, match="has changed since"):
        archive.plan()


def test_a_second_attempt_brings_a_timeline_back_from_a_copy_as_the_first_would(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.hear(archive.put("a.pcm"))
    (archive.folder / "a.pcm").unlink()
    archive.drop_timelines()
    job_id = submit(
        archive.context.database, SCENE, uris=(archive.put("copy.pcm"),), identity=Identity.CONTENT
    )
    lease = Lease(must(claim(archive.context.database, PassKind.PLAN)))
    with monkeypatch.context() as patched:
        patched.setattr(workers.plan, "ingest", failing)
        with pytest.raises(StorageUnavailable):
            plan(archive.context, lease)

    plan(archive.context, lease)
    run_all(archive.context.database)

    assert archive.links(job_id)[0].state == LinkState.SUCCEEDED


def failing(*_given: Any) -> Any:
    raise StorageUnavailable("no answer")
