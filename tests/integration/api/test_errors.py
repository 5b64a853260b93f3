from __future__ import annotations

import logging

import pytest
import sqlalchemy.exc
from fastapi.testclient import TestClient
from starlette.requests import ClientDisconnect

from api.app import create_app
from api.errors import describe
from db.database import Database, DatabaseUnavailable
from db.upgrade import SchemaOutdated
from settings import Settings
from storage import InputAccessDenied, StorageFull, StorageUnavailable

SECRET = "host=db.internal user=boss"


def problem(answer) -> dict:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail", "code", "errors", "request_id"}
    assert body["status"] == answer.status_code
    assert body["type"] == f"urn:earwitness:problem:{body['code']}"
    assert body["request_id"] == answer.headers["x-request-id"]
    assert body["title"]
    assert body["detail"]
    return body


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/job", "/v1/jobs/", "/v2/jobs"])
def test_a_path_that_leads_nowhere_is_a_problem(client, path):
    answer = client.get(path)

    assert (answer.status_code, problem(answer)["code"]) == (404, "no_such_route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/v1/jobs", "GET, POST"),
        ("PUT", "/v1/uploads", "POST"),
        ("GET", "/v1/uploads", "POST"),
        ("POST", "/v1/recordings/x/segments", "GET"),
    ],
)
def test_a_method_that_a_path_does_not_take_is_a_problem_with_those_that_it_does(
    client, method, path, allowed
):
    answer = client.request(method, path)

    assert (answer.status_code, problem(answer)["code"]) == (405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


def test_an_invalid_request_is_a_problem(client):
    assert problem(client.post("/v1/jobs", json={}))["errors"]


def test_an_unknown_id_is_a_problem(client):
    answer = client.get("/v1/jobs/0198f0a1-7c5e-7000-8000-000000000001")

    assert problem(answer)["code"] == "not_found"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_a_mebibyte_is_a_problem(client, chunked):
    pieces = [b"x" * 65_536] * 17
    content = iter(pieces) if chunked else b"".join(pieces)

    answer = client.post("/v1/jobs", content=content, headers={"content-type": "application/json"})

    assert (answer.status_code, problem(answer)["code"]) == (413, "body_too_large")


def test_an_unexpected_error_is_a_problem_that_tells_nothing_and_is_logged(settings, caplog):
    class Broken:
        def ring(self, *args, **kwargs): ...

    app = create_app(settings, doorbell=Broken())

    @app.get("/broken")
    def broken():
        raise RuntimeError(SECRET)

    with TestClient(app, raise_server_exceptions=False) as client, caplog.at_level(logging.ERROR):
        answer = client.get("/broken")

    body = problem(answer)
    assert (answer.status_code, body["code"]) == (500, "internal_error")
    assert "boss" not in answer.text
    assert body["request_id"] in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "json"),
    [
        ("POST", "/v1/jobs", {"sources": ["s3://archive/1"], "tasks": ["caption"]}),
        ("GET", "/v1/jobs", None),
        ("GET", "/v1/jobs/0198f0a1-7c5e-7000-8000-000000000001", None),
        ("GET", "/v1/recordings/0198f0a1-7c5e-7000-8000-000000000001/segments", None),
    ],
)
def test_without_a_database_the_client_is_asked_to_come_back(tmp_path, method, path, json):
    gone = Settings(data_dir=tmp_path, database_url="postgresql://boss:secret@127.0.0.1:1/gone")
    with TestClient(create_app(gone), raise_server_exceptions=False) as client:
        answer = client.request(method, path, json=json)

    assert (answer.status_code, problem(answer)["code"]) == (503, "database_unavailable")
    assert int(answer.headers["retry-after"]) > 0
    assert "secret" not in answer.text
    assert "127.0.0.1" not in answer.text


def test_an_empty_database_says_that_it_has_to_be_upgraded(tmp_path):
    with TestClient(create_app(Settings(data_dir=tmp_path)), raise_server_exceptions=False) as client:
        answer = client.get("/v1/jobs")

    assert (answer.status_code, problem(answer)["code"]) == (503, "schema_outdated")
    assert "earwitness db upgrade" in answer.text


class PostgresError(Exception):
    def __init__(self, sqlstate: str) -> None:
        super().__init__(SECRET)
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (DatabaseUnavailable(SECRET), 503, "database_unavailable"),
        (SchemaOutdated(SECRET), 503, "schema_outdated"),
        (sqlalchemy.exc.TimeoutError(SECRET), 503, "database_unavailable"),
        (sqlalchemy.exc.OperationalError("", {}, Exception(SECRET)), 503, "database_unavailable"),
        (
            sqlalchemy.exc.InterfaceError("", {}, Exception(), connection_invalidated=True),
            503,
            "database_unavailable",
        ),
        (sqlalchemy.exc.ProgrammingError("", {}, PostgresError("42P01")), 503, "schema_outdated"),
        (sqlalchemy.exc.ProgrammingError("", {}, PostgresError("42601")), 500, "internal_error"),
        (sqlalchemy.exc.DataError("", {}, Exception(SECRET)), 500, "internal_error"),
        (StorageUnavailable(SECRET), 503, "storage_unavailable"),
        (StorageFull(SECRET), 503, "storage_full"),
        (InputAccessDenied(SECRET), 500, "input_access_denied"),
        (ClientDisconnect(), 400, "client_disconnected"),
        (ValueError(SECRET), 500, "internal_error"),
    ],
)
def test_each_error_has_its_status_and_none_tells_what_is_ours(error, status, code):
    failure = describe(error)

    assert (failure.status, failure.code) == (status, code)
    assert "boss" not in failure.detail
    assert bool(failure.headers.get("Retry-After")) == (status == 503)


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("trace-1.2_3", True), ("x" * 129, False), ("a b", False), ("a\x1b[31m", False), ("", False)],
)
def test_a_request_keeps_the_id_it_came_with_when_that_is_harmless(client, sent, kept):
    answer = client.get("/healthz", headers={"x-request-id": sent})

    assert (answer.headers["x-request-id"] == sent) == kept
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("given", [True, False])
def test_the_application_closes_what_it_opened_and_nothing_else(settings, monkeypatch, given):
    closed: list[Database] = []
    monkeypatch.setattr(Database, "close", lambda self: closed.append(self))
    database = Database(settings.resolved_database_url) if given else None

    with TestClient(create_app(settings, database=database)) as client:
        assert client.get("/v1/jobs").status_code == 200
        opened = client.app.state.services.database
    monkeypatch.undo()

    opened.close()
    assert closed == ([] if given else [opened])
