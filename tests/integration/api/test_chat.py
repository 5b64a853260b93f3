"""Tasks of the Chat model: refused where the service has none, queued for it where it has one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.states import RecordingState
from db.tables import Recording
from db.types import new_id

FREE = {"task": "ask", "options": {"question": "what is going on?", "form": "free"}}


@pytest.fixture
def chat_client(settings, doorbell) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update={"chat_model": "/models/chat"}), doorbell=doorbell)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def submit(client: TestClient, *tasks: object):
    return client.post("/v1/jobs", json={"sources": ["s3://archive/tape.flac"], "tasks": list(tasks)})


def test_a_conversation_without_a_chat_model_is_refused_with_the_setting(client):
    answer = submit(client, "caption", FREE)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "tasks[1]"
    assert "EARWITNESS_CHAT_MODEL" in error["message"]


def test_one_job_may_need_both_models(chat_client):
    answer = submit(
        chat_client, "caption", FREE, {"task": "locate", "options": {"phrase": "hello", "by": "chat"}}
    )

    assert answer.status_code == 202, answer.text
    models = [request["model"] for request in answer.json()["requests"]]
    assert models[1:] == ["/models/chat"] * 2
    assert models[0] != "/models/chat"


def add_recording(database, **more: object) -> str:
    recording = Recording(
        id=new_id(), version="1", channels="mix", size_bytes=1,
        **{"tenant": "default", "uri": "s3://archive/a.wav", "state": RecordingState.PLANNED, **more},
    )  # fmt: skip
    with database.write() as session:
        session.add(recording)
        return recording.id


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tenant": "other"}, "there is no recording"),
        ({"state": RecordingState.NEW}, "has not been decoded"),
    ],
)
def test_a_recording_to_compare_with_has_to_be_the_tenant_s_and_decoded(chat_client, database, more, message):
    known, unknown = add_recording(database), add_recording(database, **more, uri="s3://archive/b.wav")

    def compared(*ids: str):
        return submit(chat_client, {"task": "ask", "options": {**FREE["options"], "references": list(ids)}})

    assert compared(known).status_code == 202
    answer = compared(known, unknown)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["field"] == "tasks[0].options.references"
    assert message in error["message"]
