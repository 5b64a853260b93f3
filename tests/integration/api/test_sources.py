"""Submit prefixes and manifests, read what came of them, and try jobs out."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from support import audio_makers as make

import api.dry_runs
from api.app import create_app
from api.dry_run_places import MOST_OF_TENANT, DryRunPlaces, TooManyDryRuns
from db.states import JobState, PassKind, SourceState
from db.tables import Job, JobRecording, JobSource, Pass, SourceError
from db.workers import WorkerReport, report_worker
from storage import InputAccessDenied, ObjectInfo, folder_uri
from storage.folder import FolderStore

PREFIX = {"prefix": "s3://archive/1999/", "glob": "**/*.wav"}
ASKED = {"sources": [PREFIX], "tasks": ["caption"]}


def test_prefixes_and_manifests_are_accepted_at_once_and_shown(client, database, doorbell):
    sources = [
        "s3://archive/one.wav",
        PREFIX,
        {"manifest": "s3://archive/list.csv"},
        {"uri": "s3://archive/two.wav", "metadata": {"box": 7}, "tracking": "case-2"},
    ]
    more = {"tracking": "order-12", "if_seen": "skip", "identity": "content"}
    answer = client.post("/v1/jobs", json={**ASKED, "sources": sources, **more})

    assert answer.status_code == 202, answer.text
    job = answer.json()
    assert job.pop("webhook") is None
    assert client.get(answer.headers["location"]).json() == job
    assert (job["tracking"], job["if_seen"], job["sources_open"]) == ("order-12", "skip", 2)
    assert job["identity"] == "content"
    assert job["recordings"]["total"] == 2
    shown = [(one["kind"], one["uri"], one["glob"], one["state"], one["error"]) for one in job["sources"]]
    assert shown == [
        ("prefix", "s3://archive/1999/", "**/*.wav", "expanding", None),
        ("manifest", "s3://archive/list.csv", None, "expanding", None),
    ]
    rows = client.get(f"/v1/jobs/{job['id']}/recordings").json()["items"]
    assert [(row["tracking"], row["metadata"]) for row in rows] == [("order-12", {}), ("case-2", {"box": 7})]
    assert doorbell.rings == [(PassKind.PLAN, "", 2), (PassKind.EXPAND, "", 2)]
    with database.read() as session:
        kinds = session.execute(select(Pass.kind, func.count()).group_by(Pass.kind)).all()
    assert dict(map(tuple, kinds)) == {"plan": 2, "expand": 2}


@pytest.mark.parametrize(
    ("source", "field", "says"),
    [
        ({"prefix": ""}, "prefix", "the prefix is empty"),
        ({"prefix": None}, "prefix", "valid string"),
        ({"prefix": "upload://x/"}, "prefix", "not supported"),
        ({"prefix": "s3://archive/a\n/"}, "prefix", "control characters"),
        ({"prefix": "s3://archive/", "glob": ""}, "glob", "1 to 256 characters"),
        ({"prefix": "s3://archive/", "glob": "/a"}, "glob", "behind the prefix"),
        ({"prefix": "s3://archive/", "metadata": {}}, "metadata", "does not go with prefix"),
        ({"manifest": "s3://archive"}, "manifest", "names a bucket"),
        ({"manifest": "s3://archive/a", "tracking": "x"}, "tracking", "the lines of a manifest say it"),
        ({"manifest": "s3://archive/a", "glob": "*"}, "glob", "does not go with manifest"),
        ({"uri": "s3://archive/a", "glob": "*"}, "glob", "does not go with uri"),
        ({"uri": "s3://archive/a", "prefix": "s3://archive/"}, "uri", "not uri and prefix"),
        ({"uri": "s3://archive/a", "tracking": ""}, "tracking", "1 to 255"),
        ({"uri": "s3://archive/a", "metadata": {"a": "\u0000"}}, "metadata", "neither NUL"),
        ({"url": "s3://archive/a"}, "url", "choose from uri, prefix, glob, manifest, metadata, tracking"),
    ],
)
def test_a_wrong_source_is_refused_by_its_field(client, source, field, says):
    answer = client.post("/v1/jobs", json={**ASKED, "sources": ["s3://archive/1", source]})
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == f"sources[1].{field}"
    assert says in error["message"]


def test_there_are_only_so_many_prefixes_in_a_job(client):
    answer = client.post("/v1/jobs", json={**ASKED, "sources": [PREFIX] * 101})
    assert "at most 100 prefixes" in answer.json()["detail"]
    assert client.post("/v1/jobs", json={**ASKED, "if_seen": "never"}).status_code == 422
    assert client.post("/v1/jobs", json={**ASKED, "identity": "name"}).status_code == 422


def test_what_a_manifest_lost_is_listed_in_pages(client, database):
    job = client.post("/v1/jobs", json={**ASKED, "sources": [{"manifest": "s3://archive/l"}]}).json()
    source = job["sources"][0]["id"]
    with database.write() as session:
        for line in (3, 1, 7):
            row = {"tenant": "default", "source_id": source, "code": "line_not_json", "message": "no JSON"}
            session.add(SourceError(line=line, **row))
    path = f"/v1/jobs/{job['id']}/sources/{source}/errors"
    first = client.get(path, params={"limit": 2}).json()
    second = client.get(path, params={"after": first["next"]}).json()
    assert [row["line"] for row in first["items"] + second["items"]] == [1, 3, 7]
    assert second["next"] is None
    other = client.post("/v1/jobs", json=ASKED).json()
    assert client.get(f"/v1/jobs/{other['id']}/sources/{source}/errors").status_code == 404


def test_a_job_without_anything_to_hear_says_why(client, database):
    job = client.post("/v1/jobs", json=ASKED).json()
    assert job["error"] is None
    with database.write() as session:
        stored = session.get_one(JobSource, job["sources"][0]["id"])
        stored.state, stored.error_code, stored.error_message = SourceState.FAILED, "no_objects", "nothing"
        session.get_one(Job, job["id"]).state = JobState.FAILED
    assert client.get(f"/v1/jobs/{job['id']}").json()["error"] == {"code": "no_objects", "message": "nothing"}


def test_recordings_can_be_listed_by_their_state(client, database):
    job = client.post("/v1/jobs", json={**ASKED, "sources": ["s3://archive/1", "s3://archive/2"]}).json()
    with database.write() as session:
        session.scalars(select(JobRecording).where(JobRecording.position == 1)).one().state = "failed"
    path = f"/v1/jobs/{job['id']}/recordings"
    assert [
        r["position"] for r in client.get(path, params={"state": ["failed", "partial"]}).json()["items"]
    ] == [1]
    assert client.get(path, params={"state": "broken"}).status_code == 422


# Dry runs


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Six recordings of two seconds in three formats, one that is none, and a text."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(3):
        make.encode(folder / f"{number}.wav", make.tone(2.0, 8_000), 8_000, "pcm_s16le")
        make.encode(folder / f"{number}.mp3", make.tone(2.0, 16_000), 16_000, "libmp3lame")
    (folder / "broken.flac").write_bytes(b"nothing of the kind" * 50)
    (folder / "notes.txt").write_bytes(b"x")
    return folder


@pytest.fixture
def at_archive(settings, archive, monkeypatch):
    monkeypatch.setattr(api.dry_runs, "PROBE_SECONDS", 90.0)  # the child is nice, and the machine may be busy
    with TestClient(create_app(settings.model_copy(update={"file_roots": (archive,)}))) as client:
        yield client


def try_out(client, *sources, **more):
    answer = client.post(
        "/v1/jobs?dry_run=true", json={"sources": list(sources), "tasks": ["caption"], **more}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_dry_run_counts_measures_and_stores_nothing(at_archive, archive, database, doorbell):
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/"})
    sizes = sum(path.stat().st_size for path in archive.iterdir() if path.suffix != ".txt")
    assert (found["complete"], found["objects"], found["bytes"]) == (True, 7, sizes)
    assert found["estimated_hours"] * 3600 == pytest.approx(12.0, rel=0.05)
    assert (found["probed"], found["hours_extrapolated"], found["bytes_extrapolated"]) == (7, False, False)
    assert [(one["code"], one["count"]) for one in found["skipped"]] == [("not_audio", 1)]
    assert found["skipped"][0]["examples"] == [folder_uri(archive / "notes.txt")]
    assert [(one["code"], one["count"]) for one in found["probed_unreadable"]] == [
        ("unsupported_or_corrupt", 1)
    ]
    for table in (Job, JobSource, Pass):
        with database.read() as session:
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_a_dry_run_says_when_it_extrapolates_or_stops_early(at_archive, archive, monkeypatch):
    monkeypatch.setattr(api.dry_runs, "SAMPLE", 2)
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/", "glob": "*.wav"})
    assert (found["objects"], found["probed"], found["hours_extrapolated"]) == (3, 2, True)
    assert found["estimated_hours"] * 3600 == pytest.approx(6.0, rel=0.05)
    assert {one["code"]: one["count"] for one in found["skipped"]} == {"outside_glob": 5}
    monkeypatch.setattr(api.dry_runs, "MAX_OBJECTS", 2)
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/"})
    assert (found["complete"], found["objects"]) == (False, 2)


def test_a_probe_that_does_not_answer_leaves_the_hours_open(at_archive, archive, monkeypatch):
    monkeypatch.setattr(api.dry_runs, "PROBE_SECONDS", 0.01)
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/"})
    assert (found["objects"], found["probed"], found["estimated_hours"]) == (7, 0, None)
    assert found["probed_unreadable"] == []
    assert {one["code"] for one in found["not_probed"]} <= {"decode_timeout", "decode_crashed"}


def test_a_dry_run_reads_manifests_and_asks_for_named_objects(at_archive, archive):
    lines = [folder_uri(archive / f"{n}.wav") for n in range(3)] + [
        folder_uri(archive / "gone.wav"),
        "nonsense",
    ]
    (archive / "list").write_text("\n".join(map(json.dumps, lines)))
    named = folder_uri(archive / "0.wav")
    found = try_out(at_archive, named, {"manifest": folder_uri(archive / "list")}, dry_run=True)
    assert (found["objects"], found["estimated_hours"]) == (3, pytest.approx(6 / 3600, abs=1e-4))
    assert {one["code"]: one["count"] for one in found["skipped"]} == {"input_not_found": 1, "invalid_uri": 1}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"prefix": "file:///etc/"}, "input_access_denied"),
        ({"manifest": "file:///etc/passwd"}, "input_access_denied"),
    ],
)
def test_a_dry_run_tells_the_error_of_a_source(at_archive, source, says):
    found = try_out(at_archive, source)
    assert says in found["sources"][0]["error"]
    assert found["objects"] == 0


@pytest.mark.parametrize(
    ("path", "more", "says"),
    [
        ("nowhere/", {}, "nothing lies under this prefix"),
        ("", {"glob": "*.ogg"}, "none of its 8 objects fits the glob *.ogg"),
        ("notes", {}, "none of its 1 objects is audio by its name"),
    ],
)
def test_a_dry_run_says_why_a_prefix_would_bring_nothing(at_archive, archive, path, more, says):
    found = try_out(at_archive, {"prefix": f"{folder_uri(archive)}/{path}", **more})
    assert (found["objects"], found["complete"]) == (0, True)
    assert found["sources"][0]["error"].startswith("no_objects: file://")
    assert says in found["sources"][0]["error"]


def test_a_dry_run_says_why_a_manifest_would_bring_nothing_and_nothing_of_one_named_twice(
    at_archive, archive
):
    (archive / "empty").write_text("")
    (archive / "bad").write_text(json.dumps("nonsense"))
    (archive / "list").write_text(folder_uri(archive / "0.wav"))
    manifests = [{"manifest": folder_uri(archive / name)} for name in ("empty", "bad", "list", "list")]
    errors = [one["error"] for one in try_out(at_archive, *manifests)["sources"]]
    assert "its manifest names nothing" in errors[0]
    assert "none of its 1 lines could be taken" in errors[1]
    assert errors[2:] == [None, None]


def test_a_dry_run_refuses_what_a_job_would_be_refused_for(settings):
    unknown = {
        "task": "ask",
        "options": {
            "question": "Which is louder?",
            "form": "free",
            "references": ["0198f0a1-7c5e-7000-8000-000000000001"],
        },
    }
    wrong = [
        ({"tasks": ["nonsense"]}, 422, "tasks[0].task"),
        ({"tasks": [unknown]}, 422, "tasks[0].options.references"),
        ({"webhook": "http://127.0.0.1/"}, 422, "webhook"),
        ({"if_no_worker": "refuse"}, 503, None),
    ]
    with TestClient(create_app(settings.model_copy(update={"chat_model": "chat"}))) as client:
        for more, status, field in wrong:
            answer = client.post("/v1/jobs?dry_run=true", json={**ASKED, **more})
            fields = [error["field"] for error in answer.json()["errors"] or []]
            assert (answer.status_code, fields) == (status, [field] if field else []), answer.text


def test_a_dry_run_finds_nothing_wrong_with_a_prefix_that_is_named_twice(at_archive, archive):
    prefix = {"prefix": folder_uri(archive) + "/"}
    found = try_out(at_archive, prefix, prefix)
    assert [(one["objects"], one["error"]) for one in found["sources"]] == [(7, None), (0, None)]


def test_a_dry_run_warns_of_what_the_job_would_wait_for(at_archive, archive, settings, database):
    (warning,) = try_out(at_archive, {"prefix": folder_uri(archive) + "/"})["warnings"]
    assert warning.startswith(f"no_worker: no worker serves the model {settings.model!r}")
    with database.write() as session:
        report_worker(session, WorkerReport("gpu-1:1:gpu", "gpu", "gpu-1", 1, model=settings.model, places=8))
    assert try_out(at_archive, {"prefix": folder_uri(archive) + "/"})["warnings"] == []


def test_a_dry_run_names_what_it_could_list_and_not_read(at_archive, archive, monkeypatch):
    def refuse(self, uri, start, end, *, version=None):
        raise InputAccessDenied(f"{uri} may not be read")

    monkeypatch.setattr(FolderStore, "read", refuse)
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/", "glob": "*.wav"})
    assert (found["objects"], found["probed"], found["estimated_hours"]) == (3, 0, None)
    assert found["probed_unreadable"] == []  # nobody looked into one
    assert [(one["code"], one["count"]) for one in found["not_probed"]] == [("input_access_denied", 3)]
    assert len(found["not_probed"][0]["examples"]) == 3


def test_a_dry_run_of_empty_files_finds_no_hours_and_says_that_they_are_empty(at_archive, archive):
    for number in range(2):
        (archive / f"empty{number}.wav").touch()
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/", "glob": "empty*"})
    assert (found["objects"], found["probed"], found["estimated_hours"]) == (2, 2, 0.0)
    assert [(one["code"], one["count"]) for one in found["probed_unreadable"]] == [("empty_file", 2)]


def test_a_dry_run_tells_what_it_looked_into_from_what_it_could_not(at_archive, archive, monkeypatch):
    read, denied = FolderStore.read, folder_uri(archive / "1.wav")

    def refuse_one(self, uri, start, end, *, version=None):
        if uri == denied:
            raise InputAccessDenied(f"{uri} may not be read")
        return read(self, uri, start, end, version=version)

    monkeypatch.setattr(FolderStore, "read", refuse_one)
    gone = [folder_uri(archive / f"gone{number}.wav") for number in range(6)]
    head = FolderStore.head

    def refuse_gone(self, uri):
        if uri in gone:
            raise InputAccessDenied(f"{uri} may not be seen")
        return head(self, uri)

    monkeypatch.setattr(FolderStore, "head", refuse_gone)
    found = try_out(at_archive, {"prefix": folder_uri(archive) + "/"}, *gone)
    assert (found["objects"], found["probed"], found["hours_extrapolated"]) == (7, 6, True)
    assert found["estimated_hours"] * 3600 == pytest.approx(12.0, rel=0.05)
    (broken,), (unread,) = found["probed_unreadable"], found["not_probed"]
    assert (broken["code"], broken["count"]) == ("unsupported_or_corrupt", 1)
    assert (unread["code"], unread["count"], unread["examples"]) == ("input_access_denied", 1, [denied])
    skipped = {one["code"]: one for one in found["skipped"]}["input_access_denied"]
    assert (skipped["count"], skipped["examples"]) == (6, gone[:5])


def test_dry_runs_that_hang_leave_room_for_everything_else(at_archive, archive, monkeypatch):
    hangs, may_go_on = threading.Semaphore(0), threading.Event()
    head = FolderStore.head

    def hang(store: FolderStore, uri: str) -> ObjectInfo:
        hangs.release()
        assert may_go_on.wait(30)
        return head(store, uri)

    monkeypatch.setattr(FolderStore, "head", hang)
    asked = {"sources": [folder_uri(archive / "0.wav")], "tasks": ["caption"]}
    with ThreadPoolExecutor(16) as pool:
        tried = [pool.submit(at_archive.post, "/v1/jobs?dry_run=true", json=asked) for _ in range(16)]
        try:
            assert all(hangs.acquire(timeout=10) for _ in range(MOST_OF_TENANT))
            assert at_archive.post("/v1/jobs", json=asked).status_code == 202
        finally:
            may_go_on.set()
    answers = [one.result() for one in tried]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.json()["code"] for answer in refused} == {"too_many_dry_runs"}
    assert refused[0].headers["retry-after"] == "10"
    assert at_archive.post("/v1/jobs?dry_run=true", json=asked).status_code == 200


def test_a_tenant_leaves_places_for_the_dry_runs_of_others():
    places = DryRunPlaces()
    with ExitStack() as held:
        for tenant in ["a", "a", "b", "c"]:
            held.enter_context(places.taken(tenant))
        for tenant in ["a", "b", "d"]:
            with pytest.raises(TooManyDryRuns), places.taken(tenant):
                pass
    with places.taken("a"):
        pass
