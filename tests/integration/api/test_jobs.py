from __future__ import annotations

import json
import time

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select, update

from api.app import create_app
from db.states import JobState, PassKind, PassState
from db.tables import Job, JobRecording, Pass, Recording, RecordingRequest, Request
from db.types import new_id

ASKED = {"sources": ["s3://archive/tape.flac"], "tasks": ["caption"]}


def fields(answer) -> dict[str, str]:
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == "invalid_request"
    return {error["field"]: error["message"] for error in problem["errors"]}


def test_a_job_is_accepted_stored_and_can_be_read_where_location_says(client, database):
    answer = client.post(
        "/v1/jobs",
        json={
            "sources": [{"uri": "s3://archive/tape.flac"}, "file:///data/a%20b.wav"],
            "tasks": [{"task": "transcribe", "options": {"timestamps": "word"}}, "caption"],
            "channels": "split",
            "metadata": {"box": 7, "Kiste": "für später"},
            "priority": 3,
        },
    )

    assert answer.status_code == 202
    job = answer.json()
    assert job.pop("webhook") is None
    assert client.get(answer.headers["location"]).json() == job
    assert job["state"] == "queued"
    none = dict.fromkeys(("succeeded", "partial", "failed", "skipped", "cancelled"), 0)
    assert job["recordings"] == {"total": 2, **none, "pending": 2}
    assert (job["channels"], job["priority"]) == ("split", 3)
    assert job["metadata"] == {"box": 7, "Kiste": "für später"}
    assert [(r["task"], r["options"]) for r in job["requests"]] == [
        ("transcribe", {"language": "auto", "timestamps": "word", "itn": False}),
        ("caption", {"style": "clotho"}),
    ]
    with database.read() as session:
        passes = session.scalars(select(Pass).where(Pass.job_id == job["id"])).all()
    assert [(p.kind, p.state, p.priority) for p in passes] == [(PassKind.PLAN, PassState.READY, 3)] * 2


def test_the_doorbell_rings_once_for_all_sources_after_the_job_is_stored(client, doorbell):
    client.post("/v1/jobs", json={**ASKED, "sources": ["s3://archive/1", "s3://archive/2"]})

    assert doorbell.rings == [(PassKind.PLAN, "", 2)]


def test_a_broken_doorbell_does_not_take_an_accepted_job_back(client, doorbell):
    doorbell.error = OSError("no broker")

    answer = client.post("/v1/jobs", json=ASKED)

    assert answer.status_code == 202
    assert client.get(answer.headers["location"]).status_code == 200


def test_a_refused_job_stores_nothing_and_rings_nobody(client, doorbell):
    assert client.post("/v1/jobs", json={**ASKED, "tasks": ["nonsense"]}).status_code == 422

    assert client.get("/v1/jobs").json() == {"items": [], "next": None}
    assert doorbell.rings == []


def test_two_jobs_that_ask_the_same_share_the_request(client):
    first = client.post("/v1/jobs", json=ASKED).json()
    spelled_out = {"task": "caption", "options": {"style": "clotho"}}
    second = client.post("/v1/jobs", json={**ASKED, "tasks": [spelled_out]}).json()

    assert first["id"] != second["id"]
    assert first["requests"] == second["requests"]


def test_another_model_is_another_question(settings, client, database):
    client.post("/v1/jobs", json=ASKED)
    with TestClient(create_app(settings.model_copy(update={"model": "tiny"}), database=database)) as other:
        other.post("/v1/jobs", json=ASKED)

    with database.read() as session:
        requests = session.scalars(select(Request)).all()
    assert sorted(request.model for request in requests) == ["mini", "tiny"]
    assert len({request.key for request in requests}) == 2


@pytest.mark.parametrize(
    ("change", "field", "says"),
    [
        ({"sources": []}, "sources", "at least 1"),
        ({"sources": None}, "sources", "list"),
        ({"sources": ["s3://bucket"]}, "sources[0].uri", "names a bucket"),
        (
            {"sources": ["s3://archive/1", "https://host/x"]},
            "sources[1].uri",
            "s3://bucket/key, file:///path",
        ),
        ({"sources": [{"uri": 7}]}, "sources[0].uri", "string"),
        ({"sources": [7]}, "sources[0]", "object"),
        ({"sources": [{}]}, "sources[0].uri", "required"),
        ({"sources": [{"uri": "s3://archive/1", "key": 1}]}, "sources[0].key", "choose from uri"),
        ({"sources": ["upload://nobody/a.wav"]}, "sources[0].uri", "UUID"),
        ({"sources": ["file:///../etc/passwd"]}, "sources[0].uri", "climb"),
        ({"sources": ["s3://archive/\u0000"]}, "sources[0].uri", "control"),
        ({"tasks": []}, "tasks", "at least 1"),
        ({"tasks": ["transcripe"]}, "tasks[0].task", "transcribe, translate, language"),
        ({"tasks": [{"task": "x" * 100}]}, "tasks[0].task", "64"),
        ({"tasks": [{"options": {}}]}, "tasks[0].task", "required"),
        ({"tasks": [{"task": "caption", "option": {}}]}, "tasks[0].option", "choose from task, options"),
        ({"tasks": [{"task": "caption", "options": []}]}, "tasks[0].options", "object"),
        (
            {"tasks": [{"task": "transcribe", "options": {"langage": "en"}}]},
            "tasks[0].options.langage",
            "language, timestamps, itn",
        ),
        (
            {"tasks": ["caption", {"task": "transcribe", "options": {"language": "tlh"}}]},
            "tasks[1].options.language",
            "'en', 'zh', 'de'",
        ),
        (
            {"tasks": [{"task": "transcribe", "options": {"timestamps": "word", "itn": True}}]},
            "tasks[0].options.itn",
            "segment",
        ),
        ({"tasks": ["ask"]}, "tasks[0].options.question", "required"),
        (
            {"tasks": [{"task": "ask", "options": {"question": "\u200b\u202e"}}]},
            "tasks[0].options.question",
            "no text",
        ),
        ({"tasks": [{"task": "transcribe", "options": {"itn": "yes"}}]}, "tasks[0].options.itn", "boolean"),
        (
            {"tasks": ["caption", "emotion", {"task": "caption", "options": {"style": "clotho"}}]},
            "tasks[2]",
            "same as tasks[0]",
        ),
        ({"channels": "stereo"}, "channels", "'mix' or 'split'"),
        ({"priority": 10}, "priority", "less than or equal to 9"),
        ({"priority": -1}, "priority", "greater than or equal to 0"),
        ({"priority": "5"}, "priority", "integer"),
        ({"priority": True}, "priority", "integer"),
        ({"metadata": [1]}, "metadata", "object"),
        ({"metadata": {"a": "x" * 17_000}}, "metadata", "16384 bytes"),
        ({"metadata": {"a": ["b\u0000"]}}, "metadata", "NUL"),
        ({"metadata": {"a\u0000": 1}}, "metadata", "NUL"),
        ({"callback": "http://x"}, "callback", "sources, tasks, channels, metadata, tracking, if_seen"),
    ],
)
def test_a_wrong_field_is_named_with_what_is_allowed(client, change, field, says):
    found = fields(client.post("/v1/jobs", json={**ASKED, **change}))

    assert list(found) == [field]
    assert says in found[field]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "finite"),
        ('{"a": [1e999]}', "finite"),
        (r'{"a": "\ud800"}', "surrogates"),
        (r'{"\udfff": 1}', "surrogates"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "16 levels"),
    ],
)
def test_metadata_that_a_database_could_not_keep_is_refused(client, text, says):
    body = f'{{"sources": ["s3://archive/1"], "tasks": ["caption"], "metadata": {text}}}'
    found = fields(client.post("/v1/jobs", content=body, headers={"content-type": "application/json"}))

    assert says in found["metadata"]


def test_all_wrong_fields_are_named_at_once(client):
    found = fields(client.post("/v1/jobs", json={"sources": ["x", "y"], "tasks": ["z"], "priority": 99}))

    assert list(found) == ["sources[0].uri", "sources[1].uri", "tasks[0].task", "priority"]


def test_an_answer_to_thousands_of_wrong_sources_stays_short(client):
    answer = client.post("/v1/jobs", json={**ASKED, "sources": ["x"] * 10_000})

    assert len(fields(answer)) == 100
    assert "and 97 more" in answer.json()["detail"]


def test_wrong_items_behind_right_ones_are_named_by_their_places(client):
    sources = [f"s3://archive/{i}" for i in range(1_000)]
    sources[250] = "x"
    sources[299] = {"uri": "s3://archive/1", "prefix": "s3://archive/"}

    found = fields(client.post("/v1/jobs", json={**ASKED, "sources": sources}))

    assert list(found) == ["sources[250].uri", "sources[299].uri"]


def test_ten_thousand_sources_are_taken_and_one_more_is_not(client):
    sources = [f"s3://archive/{i}" for i in range(10_000)]

    began = time.monotonic()
    assert client.post("/v1/jobs", json={**ASKED, "sources": sources}).json()["recordings"]["total"] == 10_000
    assert time.monotonic() - began < 10
    assert (
        "10000"
        in fields(client.post("/v1/jobs", json={**ASKED, "sources": [*sources, "s3://archive/x"]}))["sources"]
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "required"),
        (b"{", "no JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b'"s3://archive/1"', "object"),
    ],
)
def test_a_body_that_is_no_object_is_refused(client, content, says):
    found = fields(client.post("/v1/jobs", content=content, headers={"content-type": "application/json"}))

    assert says in found["body"]


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"[" * 200_000, b'{"priority": ' + b"9" * 5_000 + b"}"])
def test_bytes_that_no_parser_takes_are_a_client_error(client, content):
    answer = client.post("/v1/jobs", content=content, headers={"content-type": "application/json"})

    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_body_of_another_type_is_refused_with_the_type_to_send(client):
    found = fields(client.post("/v1/jobs", content=json.dumps(ASKED), headers={"content-type": "text/plain"}))

    assert "application/json" in found["body"]


def test_jobs_are_listed_newest_first_page_by_page(client):
    ids = [client.post("/v1/jobs", json=ASKED).json()["id"] for _ in range(5)]

    seen, after = [], None
    for expected_size in (2, 2, 1):
        page = client.get("/v1/jobs", params={"limit": 2, **({"after": after} if after else {})}).json()
        assert len(page["items"]) == expected_size
        seen += [job["id"] for job in page["items"]]
        after = page["next"]

    assert after is None
    assert seen == ids[::-1]


def test_a_full_last_page_says_that_it_is_the_last(client):
    for _ in range(2):
        client.post("/v1/jobs", json=ASKED)

    assert client.get("/v1/jobs?limit=2").json()["next"] is None


def test_jobs_can_be_listed_by_state(client, database, submitted):
    running = client.post("/v1/jobs", json=ASKED).json()["id"]
    with database.write() as session:
        session.execute(update(Job).where(Job.id == running).values(state=JobState.RUNNING))

    assert [job["id"] for job in client.get("/v1/jobs?state=running").json()["items"]] == [running]
    assert [job["id"] for job in client.get("/v1/jobs?state=queued").json()["items"]] == [submitted]


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("state=done", "state", "'succeeded'"),
        ("limit=0", "limit", "greater"),
        ("limit=201", "limit", "200"),
        ("limit=x", "limit", "integer"),
        ("after=x", "after", "UUID"),
        ("after=%00", "after", "UUID"),
        ("limt=3", "limt", "state, limit, after"),
    ],
)
def test_a_wrong_query_of_jobs_is_named(client, query, field, says):
    assert says in fields(client.get(f"/v1/jobs?{query}"))[field]


@pytest.mark.parametrize("path", ["", "/recordings"])
def test_an_id_that_is_none_is_refused_and_an_unknown_one_is_not_found(client, path):
    assert "UUID" in fields(client.get(f"/v1/jobs/tape{path}"))["job_id"]
    answer = client.get(f"/v1/jobs/{new_id()}{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_an_id_may_be_spelled_in_capitals(client, submitted):
    assert client.get(f"/v1/jobs/{submitted.upper()}").json()["id"] == submitted


def test_another_tenants_job_does_not_exist(client, database, submitted):
    with database.write() as session:
        session.execute(update(Job).values(tenant="other"))

    assert client.get("/v1/jobs").json()["items"] == []
    assert client.get(f"/v1/jobs/{submitted}").status_code == 404
    assert client.get(f"/v1/jobs/{submitted}/recordings").status_code == 404


def test_progress_is_counted_in_seconds_of_audio(client, database, submitted):
    with database.write() as session:
        job = session.scalars(select(Job)).one()
        link = session.scalars(select(JobRecording)).one()
        request = session.scalars(select(Request)).one()
        recording = _recording(duration_ms=60_000)
        session.add(recording)
        session.flush()
        link.recording_id, link.state, job.state = recording.id, "understanding", "running"
        session.add(
            RecordingRequest(
                recording_id=recording.id,
                request_id=request.id,
                tenant="default",
                chunks_total=4,
                chunks_done=1,
            )
        )

    assert client.get(f"/v1/jobs/{submitted}").json()["progress"] == {
        "audio_seconds_total": 60.0,
        "audio_seconds_done": 15.0,
        "recordings_planned": 1,
    }


def test_a_jobs_recordings_come_in_order_with_their_errors_and_facts(client, database):
    sources = [f"s3://archive/{i}" for i in range(3)]
    job = client.post("/v1/jobs", json={**ASKED, "sources": sources}).json()["id"]
    with database.write() as session:
        recording = _recording(duration_ms=1_500, warnings=["declared 9 s"])
        session.add(recording)
        session.flush()
        first, second, _ = session.scalars(select(JobRecording).order_by(JobRecording.position)).all()
        first.recording_id, first.state = recording.id, "succeeded"
        second.state, second.error_code, second.error_message = "failed", "input_not_found", "no such key"

    page = client.get(f"/v1/jobs/{job}/recordings?limit=2").json()
    assert [item["uri"] for item in page["items"]] == sources[:2]
    done, failed = page["items"]
    assert done["recording"]["id"] == recording.id
    assert done["recording"]["warnings"] == ["declared 9 s"]
    assert "timeline_uri" not in done["recording"]
    assert (done["state"], done["error"]) == ("succeeded", None)
    assert (failed["state"], failed["recording"]) == ("failed", None)
    assert failed["error"] == {"code": "input_not_found", "message": "no such key"}
    rest = client.get(f"/v1/jobs/{job}/recordings", params={"after": page["next"]}).json()
    assert [item["uri"] for item in rest["items"]] == sources[2:]
    assert rest["next"] is None


@pytest.mark.parametrize("after", ["-1", "x", "2147483648", "99999999999999999999"])
def test_a_wrong_place_to_go_on_is_named(client, submitted, after):
    assert "after" in fields(client.get(f"/v1/jobs/{submitted}/recordings?after={after}"))


def _recording(**facts) -> Recording:
    return Recording(
        tenant="default",
        uri="s3://archive/0",
        version="1",
        channels="mix",
        size_bytes=1,
        timeline_uri="file:///x",
        **facts,
    )
