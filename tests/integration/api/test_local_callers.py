"""A service without keys is for its own machine: not for the web pages that its user looks at."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from api.app import create_app

FORM = {"file": ("a.wav", b"x")}


@pytest.fixture
def client(settings) -> Iterator[TestClient]:
    app = create_app(settings, local_callers_only=True)
    with TestClient(app, base_url="http://127.0.0.1:8000") as client:
        yield client


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "[::1]:8000", "[::1]"]
)
def test_programs_of_this_machine_are_served(client, host):
    assert client.get("/v1/jobs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8000", "origin": "http://evil.example:8000"},
        {"host": "localhost.evil.example"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "evil.example#@127.0.0.1"},
        {"host": "[::1"},
        {"host": ""},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
    ],
    ids=str,
)
def test_web_pages_of_elsewhere_are_refused(client, headers):
    for answer in [client.get("/v1/jobs", headers=headers), client.get("/metrics", headers=headers)]:
        assert (answer.status_code, answer.json()["code"]) == (403, "not_local")
        assert answer.json()["request_id"] == answer.headers["x-request-id"] != ""
    assert client.post("/v1/uploads", files=FORM, headers=headers).status_code == 403


def test_the_page_of_the_documentation_may_ask(client):
    headers = {"origin": "http://127.0.0.1:8000"}
    assert client.post("/v1/uploads", files=FORM, headers=headers).status_code == 201


def test_a_key_is_looked_at_wherever_it_comes_from(client):
    headers = {"host": "earwitness.example", "authorization": "Bearer ew_none"}
    assert client.get("/v1/jobs", headers=headers).status_code == 401
