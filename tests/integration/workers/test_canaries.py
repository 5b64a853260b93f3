"""Nothing that people said, asked or keep secret reaches the log, also when everything goes wrong."""

from __future__ import annotations

import dataclasses
import io
import json
import logging
from concurrent.futures import Future

import pytest
from chaos import fakes
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

import workers.cpu
import workers.plan
from api.app import create_app
from db.states import PassKind
from qwen_audio.answers import Answer, FinishReason
from settings.logs import configure_logging
from workers.context import WorkerContext
from workers.doorbell import CeleryDoorbell
from workers.runner import Lane, Runner
from workers.understand import Ear

SPOKEN, ASKED, SECRET = "canaryspoken", "canaryasked", "canarysecret"
MARKS = (SPOKEN, ASKED, SECRET)


class Talker(fakes.HashEngine):
    """Says the canary about every clip."""

    def open(self, samples):
        return self

    def branch(self, prompt, limit, stop=(), deadline=None, score=None):
        future = Future()
        scores = {str(one): -0.1 for one in score or ()}
        finish = FinishReason.SCORED if score else FinishReason.STOP
        future.set_result(Answer("" if score else SPOKEN, (1,), (-0.1,), finish, scores))
        return future

    def close(self):
        """Stay."""


@pytest.fixture
def lines():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configure_logging("INFO", "json")
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # the test's own client
    written = io.StringIO()
    root.handlers[0].setStream(written)
    yield lambda: written.getvalue().splitlines()
    root.handlers[:], root.level = handlers, level


def test_no_canary_reaches_the_log_at_info(context: WorkerContext, lines, monkeypatch, tmp_path) -> None:
    settings = context.settings.model_copy(
        update={"model": fakes.MODEL, "file_roots": (tmp_path,), "operator_token": SecretStr(SECRET),
                "broker_url": f"redis://:{SECRET}@127.0.0.1:1/0"}
    )  # fmt: skip
    context = dataclasses.replace(context, settings=settings, store=_store(context, tmp_path))
    monkeypatch.setattr(workers.plan, "ingest", fakes.copy_ingest)
    source = tmp_path / "a.pcm"
    source.write_bytes(fakes.make_pcm(1, 1))
    doorbell = CeleryDoorbell(settings.broker_url)
    with TestClient(create_app(settings, database=context.database, doorbell=doorbell)) as client:
        asked = {"task": "ask", "options": {"question": f"is there {ASKED}?", "choices": ["yes", "no"]}}
        bad = {"sources": [f"https://h/{ASKED}?sig={SECRET}"], "tasks": ["caption"]}
        assert client.post(f"/v1/jobs?token={SECRET}", json=bad).status_code == 422
        job = {"sources": [source.as_uri()], "tasks": [asked, "caption"], "metadata": {"note": SECRET}}
        refused = client.post("/v1/jobs", json=job, headers={"Authorization": f"Bearer {SECRET}"})
        assert refused.status_code == 401
        answer = client.post("/v1/jobs", json=job, headers={"X-Request-ID": "r1"})
        assert answer.status_code == 202, answer.text
        ear = Ear(Talker(1, 1, 0.0), fakes.MODEL)
        lanes = [
            *workers.cpu.open_lanes(context),
            Lane(PassKind.UNDERSTAND, 1, ear.understand, model=fakes.MODEL),
        ]
        runner = Runner(context, lanes, poll_seconds=1.0)
        assert runner.work_one(PassKind.PLAN)
        with context.database.write() as session:
            # What is said can no longer be stored: the error has the statement and its values.
            session.execute(text("ALTER TABLE results RENAME TO results_away"))
            session.execute(text("CREATE VIEW results AS SELECT chunk_id, request_id FROM results_away"))
        assert runner.work_one(PassKind.UNDERSTAND)
        client.get("/v1/jobs", params={"after": SECRET})
        runner.stop(0.1)
    doorbell.close()
    found = lines()
    said = [json.loads(line) for line in found if line.startswith("{")]
    assert len(said) == len(found), found
    assert any(
        line.get("kind") == "understand" and line.get("job") == answer.json()["id"] for line in said
    ), said
    assert any(line.get("request") == "r1" for line in said)
    assert [line for line in found if any(mark in line for mark in MARKS)] == []


def _store(context: WorkerContext, folder):
    from storage import open_store

    return open_store(context.settings.resolved_storage_url, roots=(folder,))
