"""Answer the client's requests with what a test says, and record them."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli import terminal, watching
from cli.client import ApiClient
from cli.commands import jobs

Answers = dict[str, Any]


class FakeApi:
    """Answers by ``METHOD /path``; a list is given out one by one, the last one for ever."""

    def __init__(self) -> None:
        self.answers: Answers = {}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers[f"{request.method} {request.url.path}"]
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Exception):
            raise answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return httpx.Response(status, json=body)

    def sent(self, index: int = -1) -> Any:
        return json.loads(self.requests[index].content)


@pytest.fixture
def api(monkeypatch) -> FakeApi:
    fake = FakeApi()
    monkeypatch.setattr(jobs, "ApiClient", partial(ApiClient, transport=httpx.MockTransport(fake)))
    unhurried = partial(watching.watch_jobs, sleep=lambda seconds: None)
    monkeypatch.setattr(watching, "watch_jobs", unhurried)
    return fake


@pytest.fixture
def client(api) -> ApiClient:
    return ApiClient("http://api", transport=httpx.MockTransport(api))


@pytest.fixture
def run(monkeypatch) -> Callable[..., Any]:
    """Run ``earwitness`` in this process, on a wide terminal."""
    from cli.main import app

    monkeypatch.setattr(terminal.out, "_width", 200)
    monkeypatch.setattr(terminal.err, "_width", 200)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


JOB_ID = "0198f0a1-7c5e-7000-8000-000000000001"


@pytest.fixture
def job() -> Callable[..., dict[str, Any]]:
    def make(
        state: str = "succeeded", done: float = 12.0, total: float = 12.0, **counts: int
    ) -> dict[str, Any]:
        recordings = {"total": 1, "succeeded": 1, "partial": 0, "failed": 0, "pending": 0, **counts}
        return {
            "id": JOB_ID,
            "state": state,
            "recordings": recordings,
            "requests": [{"id": JOB_ID[:-1] + last} for last in "45"],
            "created_at": "2026-01-02T03:04:05.678Z",
            "progress": {"audio_seconds_total": total, "audio_seconds_done": done, "recordings_planned": 1},
        }

    return make


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    def make(
        state: str = "succeeded", error: dict[str, str] | None = None, **recording: Any
    ) -> dict[str, Any]:
        known = {
            "id": JOB_ID.replace("1", "2"),
            "uri": "s3://archive/tape.flac",
            "error": None,
            "warnings": [],
            "duration_ms": 12_089,
            "speech_ms": 8_800,
            **recording,
        }
        return {
            "position": 0,
            "uri": "s3://archive/tape.flac",
            "state": state,
            "error": error,
            "recording": known,
        }

    return make
