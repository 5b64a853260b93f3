from __future__ import annotations

import pytest

from db.tables import Annotation, Recording, Request, Segment
from db.types import new_id


@pytest.fixture
def found(database) -> dict[str, str]:
    """A recording with two requests: one found five segments, one three captions and two emotions."""
    ids = {name: new_id() for name in ("recording", "said", "heard")}
    place = {
        "tenant": "default",
        "channel": 0,
        "start_sample": 16,
        "end_sample": 32,
        "start_ms": 1,
        "end_ms": 2,
    }
    word = {"word": "hi", "start_ms": 1, "end_ms": 2, "start_sample": 16, "end_sample": 32}
    with database.write() as session:
        session.add(
            Recording(
                id=ids["recording"],
                tenant="default",
                uri="s3://archive/tape.flac",
                version="1",
                channels="mix",
                size_bytes=7,
                error_code="no_audio_stream",
                error_message="nothing to hear",
            )
        )
        for name, task in (("said", "transcribe"), ("heard", "caption")):
            session.add(
                Request(
                    id=ids[name],
                    tenant="default",
                    key=name,
                    task=task,
                    options={},
                    model="tiny",
                    prompt_version=1,
                )
            )
        session.flush()
        for index in range(5):
            session.add(
                Segment(
                    recording_id=ids["recording"],
                    request_id=ids["said"],
                    index=index,
                    text=f"line {index}",
                    words=[word],
                    avg_logprob=0.0,
                    **place,
                )
            )
            session.add(
                Annotation(
                    recording_id=ids["recording"],
                    request_id=ids["heard"],
                    index=index,
                    task="caption" if index < 3 else "emotion",
                    label="calm",
                    text=f"note {index}",
                    data={"style": "clotho"},
                    **place,
                )
            )
    return ids


def walk(client, path: str, **query) -> list[dict]:
    items, after = [], None
    while True:
        page = client.get(path, params={**query, **({"after": after} if after else {})}).json()
        items += page["items"]
        after = page["next"]
        if after is None:
            return items


def test_a_recording_says_what_it_is_and_why_it_failed(client, found):
    recording = client.get(f"/v1/recordings/{found['recording']}").json()

    assert (recording["uri"], recording["size_bytes"], recording["state"]) == (
        "s3://archive/tape.flac",
        7,
        "new",
    )
    assert recording["error"] == {"code": "no_audio_stream", "message": "nothing to hear"}


def test_segments_come_page_by_page_with_their_words(client, found):
    segments = walk(client, f"/v1/recordings/{found['recording']}/segments", limit=2)

    assert [segment["text"] for segment in segments] == [f"line {index}" for index in range(5)]
    assert segments[0]["words"][0]["word"] == "hi"
    assert segments[0]["avg_logprob"] == 0.0
    assert {segment["request_id"] for segment in segments} == {found["said"]}


def test_annotations_come_page_by_page_by_task_and_by_request(client, found):
    path = f"/v1/recordings/{found['recording']}/annotations"

    assert [note["text"] for note in walk(client, path, limit=2)] == [f"note {index}" for index in range(5)]
    assert [note["task"] for note in walk(client, path, task="emotion", limit=1)] == ["emotion"] * 2
    assert walk(client, path, request=found["said"]) == []
    assert len(walk(client, path, request=found["heard"])) == 5


@pytest.mark.parametrize("path", ["", "/segments", "/annotations"])
def test_a_wrong_id_is_refused_and_an_unknown_one_not_found(client, path):
    wrong, unknown = client.get(f"/v1/recordings/7{path}"), client.get(f"/v1/recordings/{new_id()}{path}")

    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "recording_id")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("path", ["", "/segments", "/annotations"])
def test_another_tenants_recording_does_not_exist(client, database, found, path):
    with database.write() as session:
        session.get(Recording, found["recording"]).tenant = "other"

    assert client.get(f"/v1/recordings/{found['recording']}{path}").status_code == 404


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("task=captions", "task"),
        ("limit=1001", "limit"),
        ("after=x", "after"),
        ("request=x", "request"),
        ("lang=en", "lang"),
    ],
)
def test_a_wrong_query_of_findings_is_named(client, found, query, field):
    answer = client.get(f"/v1/recordings/{found['recording']}/annotations?{query}")

    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


def test_an_unknown_task_is_refused_with_those_that_exist(client, found):
    answer = client.get(f"/v1/recordings/{found['recording']}/annotations?task=captions")

    assert "transcribe, translate, language" in answer.json()["errors"][0]["message"]


def test_a_place_in_another_list_is_no_place_to_go_on(client, found):
    answer = client.get(f"/v1/recordings/{found['recording']}/segments", params={"after": new_id()})

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_up_to_a_thousand_findings_fit_on_a_page(client, found):
    assert client.get(f"/v1/recordings/{found['recording']}/segments?limit=1000").status_code == 200
