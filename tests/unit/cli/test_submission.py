from __future__ import annotations

import json

import pytest

from cli.submission import is_prefix, source_of
from db.types import new_id
from storage.uploads import safe_name, upload_uri

JOB_ID = "0198f0a1-7c5e-7000-8000-000000000001"
DRY = {
    "dry_run": True, "complete": False, "objects": 1200, "bytes": 4_000_000_000, "bytes_extrapolated": True,
    "estimated_hours": 103.5, "hours_extrapolated": True, "probed": 16,
    "probed_unreadable": [{"code": "drm_protected", "count": 2, "examples": ["s3://archive/a.m4a"]}],
    "skipped": [{"code": "not_audio", "count": 3, "examples": ["s3://archive/notes.txt"]}],
    "sources": [{"uri": "s3://archive/", "objects": 1200, "error": "input_access_denied: denied"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("uri", "glob", "source"),
    [
        ("s3://bucket/calls/", None, {"prefix": "s3://bucket/calls/"}),
        ("s3://bucket", None, {"prefix": "s3://bucket"}),
        ("file:///calls/", "*.wav", {"prefix": "file:///calls/", "glob": "*.wav"}),
        ("s3://bucket/call-", "*", {"prefix": "s3://bucket/call-", "glob": "*"}),
        ("s3://bucket/a.wav", None, {"uri": "s3://bucket/a.wav"}),
        ("upload://x/a.wav", "*", {"uri": "upload://x/a.wav"}),
    ],
)
def test_a_uri_that_ends_with_a_slash_means_all_below_it(uri, glob, source):
    assert source_of(uri, glob) == source
    assert is_prefix("s3://bucket/")


def test_submit_takes_prefixes_manifests_and_notes(run, api, job, tmp_path):
    (tmp_path / "list.csv").write_text("uri\n")
    api.answers = {
        "POST /v1/uploads": (201, {"uri": "upload://x/list.csv"}),
        "POST /v1/jobs": (202, job("queued")),
    }
    done = run(
        "submit", "s3://archive/calls/", "--glob", "**/*.wav", "--manifest", tmp_path / "list.csv",
        "--manifest", "s3://archive/list.jsonl", "--tracking", "order-12", "--if-seen", "skip",
        "--identity", "content",
        "--metadata", "box=7", "--metadata", "note=a=b",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    sent = api.sent()
    assert sent["sources"] == [
        {"prefix": "s3://archive/calls/", "glob": "**/*.wav"},
        {"manifest": "upload://x/list.csv"},
        {"manifest": "s3://archive/list.jsonl"},
    ]
    assert (sent["tracking"], sent["if_seen"], sent["identity"]) == ("order-12", "skip", "content")
    assert sent["metadata"] == {"box": "7", "note": "a=b"}


def test_a_dry_run_prints_what_would_be_heard(run, api):
    api.answers["POST /v1/jobs"] = (200, DRY)
    done = run("submit", "s3://archive/", "--dry-run")
    assert done.exit_code == 0, done.output
    assert api.sent()["dry_run"] is True
    for words in (
        "at least 1200",
        "4,000.0 MB (extrapolated)",
        "103.50 hours, estimated from 16 files",
        "2 of 16 looked into: drm_protected",
        "-> It is locked: get a version without protection.",
        "3: not_audio, such as s3://archive/notes.txt",
        "input_access_denied",
    ):
        assert words in done.stdout
    assert json.loads(run("submit", "s3://archive/", "--dry-run", "--json").stdout) == DRY


def test_a_dry_run_says_apart_what_it_could_not_look_into(run, api):
    unread = {"code": "input_access_denied", "count": 16, "examples": ["s3://archive/a.wav"]}
    none = {"probed": 0, "estimated_hours": None, "probed_unreadable": [], "not_probed": [unread]}
    api.answers["POST /v1/jobs"] = (200, {**DRY, **none})
    shown = run("submit", "s3://archive/", "--dry-run").stdout
    assert "of 0" not in shown
    assert (
        "  not looked into    16 of 16 in the sample: input_access_denied, such as s3://archive/a.wav"
        in shown
    )
    assert "-> Let the workers' S3 credentials read the object" in shown
    api.answers["POST /v1/jobs"] = (200, {**DRY, "not_probed": [{**unread, "count": 3}]})
    shown = run("submit", "s3://archive/", "--dry-run").stdout
    assert "2 of 16 looked into: drm_protected" in shown
    assert "  not looked into    3 of 19 in the sample: input_access_denied" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "nothing to submit"),
        (["s3://a/1", "--metadata", "x"], "NAME=VALUE"),
        (["s3://a/1", "--metadata", "x=1", "--metadata", "x=2"], "each name once"),
        (["{file}", "--dry-run"], "local files would be uploaded"),
        (["{file}", "--glob", "*.wav"], "for local files write the pattern as the source"),
        (["s3://a/", "{file}", "--glob", "*.wav"], "for local files write the pattern as the source"),
        (["--manifest", "s3://a/1", "--glob", "*.wav"], "below s3:// and file:// prefixes"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_sent(run, api, tmp_path, arguments, says):
    (tmp_path / "a.wav").touch()
    done = run("submit", *(one.format(file=tmp_path / "a.wav") for one in arguments))
    assert done.exit_code == 1
    assert says in done.stderr
    assert api.requests == []


def test_a_large_job_shows_what_failed_and_says_so(run, api, job, row):
    source = {
        "uri": "s3://archive/", "glob": None, "state": "failed", "seen": 900, "taken": 800, "skipped": 100,
        "lines_bad": 0, "error": {"code": "input_access_denied", "message": "denied"},
    }  # fmt: skip
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": {**job("partial", total=800), "sources": [source]},
        f"GET /v1/jobs/{JOB_ID}/recordings": {
            "items": [row("failed", {"code": "too_short", "message": "x"})],
            "next": "7",
        },
    }
    api.answers[f"GET /v1/jobs/{JOB_ID}"]["recordings"]["total"] = 800
    done = run("status", JOB_ID)
    assert done.exit_code == 0, done.output
    assert "1 of 800 recordings shown" in done.stderr
    assert "input_access_denied: denied" in done.stderr
    assert "too_short" in done.stdout
    assert api.requests[-1].url.params.get_list("state") == ["failed", "partial"]


def test_what_the_api_would_refuse_is_said_before_a_file_is_uploaded(run, api, tmp_path):
    (tmp_path / "a.wav").touch()
    errors = [{"field": "channels", "message": "Input should be 'mix' or 'split'"}]
    api.answers["POST /v1/jobs"] = (422, {"status": 422, "code": "invalid_request", "errors": errors})
    done = run("submit", tmp_path / "a.wav", "--channels", "both", "--webhook", "https://a.example/")
    assert done.exit_code == 1
    assert "channels: Input should be" in done.stderr
    assert [request.url.path for request in api.requests] == ["/v1/jobs"]
    assert (api.sent()["dry_run"], api.sent()["webhook"]) == (True, "https://a.example/")


def test_what_is_rehearsed_is_as_long_as_what_is_submitted(run, api, job, tmp_path):
    names = ("Interview with the mayor, part 2 of 3.wav", "録音.wav", "plain.wav")
    for name in names:
        (tmp_path / name).touch()
    uris = [(201, {"uri": upload_uri(new_id(), safe_name(name))}) for name in names]
    api.answers = {"POST /v1/uploads": uris, "POST /v1/jobs": [{}, (202, job("queued"))]}
    assert run("submit", *(tmp_path / name for name in names)).exit_code == 0
    rehearsed, submitted = api.sent(0), api.sent()
    assert rehearsed.pop("dry_run") is True
    assert len(json.dumps(rehearsed)) == len(json.dumps(submitted))
    assert [one.get("metadata") for one in rehearsed["sources"]] == [
        one.get("metadata") for one in submitted["sources"]
    ]


def test_more_files_than_a_job_can_take_are_refused_before_one_is_uploaded(run, api, tmp_path):
    (tmp_path / "a.wav").touch()
    api.answers["POST /v1/jobs"] = (413, {"status": 413, "code": "body_too_large", "errors": []})
    done = run("submit", tmp_path / "a.wav")
    assert done.exit_code == 1
    assert "more than one job can take: name fewer at a time" in done.stderr
    assert [request.url.path for request in api.requests] == ["/v1/jobs"]


def test_the_bad_lines_of_a_manifest_are_shown(run, api, job):
    source = {
        "id": "7", "uri": "upload://x/list.jsonl", "glob": None, "state": "failed", "seen": 9, "taken": 0,
        "skipped": 0, "lines_bad": 9, "error": {"code": "no_objects", "message": "see its errors"},
    }  # fmt: skip
    line = {"line": 2, "code": "line_not_json", "message": "the line is no JSON"}
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": {**job("failed"), "sources": [source]},
        f"GET /v1/jobs/{JOB_ID}/recordings": {"items": [], "next": None},
        f"GET /v1/jobs/{JOB_ID}/sources/7/errors": {"items": [line], "next": 2},
    }
    done = run("status", JOB_ID)
    assert done.exit_code == 0, done.output
    assert "line 2: line_not_json: the line is no JSON" in done.stderr
    assert "9 lines were bad" in done.stderr
    assert "recording and what to know" not in done.stdout  # no head of an empty table


def test_a_name_that_an_upload_cannot_keep_goes_along_as_a_note(run, api, job, row, tmp_path):
    for name in ("録音.wav", "plain.wav"):
        (tmp_path / name).touch()
    uris = [(201, {"uri": f"upload://x/{name}"}) for name in ("plain.wav", "audio.wav")]
    noted = {**row(), "metadata": {"file": "録音.wav"}}
    api.answers = {
        "POST /v1/uploads": uris,
        "POST /v1/jobs": (202, job("queued")),
        f"GET /v1/jobs/{JOB_ID}": job(),
        f"GET /v1/jobs/{JOB_ID}/recordings": {"items": [noted], "next": None},
    }
    assert run("submit", tmp_path / "plain.wav", tmp_path / "録音.wav").exit_code == 0
    assert api.sent()["sources"] == [
        {"uri": "upload://x/plain.wav"},
        {"uri": "upload://x/audio.wav", "metadata": {"file": "録音.wav"}},
    ]
    assert "(録音.wav)" in run("status", JOB_ID).stdout
    for kind in ("segments", "summaries", "annotations"):
        api.answers[f"GET /v1/recordings/{noted['recording']['id']}/{kind}"] = {"items": [], "next": None}
    assert "(録音.wav)" in run("results", JOB_ID).stdout
