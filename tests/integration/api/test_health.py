from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.database import Database
from settings import Settings
from storage import InputAccessDenied, StorageUnavailable


class FailingStore:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def head(self, uri):
        raise self.error


def test_a_living_process_says_so_whatever_else_is_down(tmp_path):
    with TestClient(create_app(Settings(data_dir=tmp_path))) as client:
        assert client.get("/healthz").json() == {"status": "ok"}


def test_a_service_with_all_its_parts_is_ready(client):
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")


def failing(answer) -> list[str]:
    assert answer.status_code == 503
    assert answer.json()["code"] == "not_ready"
    assert answer.headers["retry-after"]
    return [error["field"] for error in answer.json()["errors"]]


def test_without_a_database_it_is_not_ready(settings, tmp_path):
    gone = settings.model_copy(update={"database_url": "postgresql://boss:secret@127.0.0.1:1/gone"})
    with TestClient(create_app(gone)) as client:
        answer = client.get("/readyz")

    assert failing(answer) == ["database", "schema"]
    assert "secret" not in answer.text


def test_with_an_empty_database_it_is_not_ready_and_says_what_to_run(tmp_path):
    with TestClient(create_app(Settings(data_dir=tmp_path))) as client:
        answer = client.get("/readyz")

    assert failing(answer) == ["schema"]
    assert "earwitness db upgrade" in answer.text


@pytest.mark.parametrize(
    "error", [StorageUnavailable("no route to secret-host"), InputAccessDenied("keys of boss")]
)
def test_without_its_storage_it_is_not_ready(settings, error):
    database = Database(settings.resolved_database_url)
    with TestClient(create_app(settings, database=database, store=FailingStore(error))) as client:
        answer = client.get("/readyz")
    database.close()

    assert failing(answer) == ["storage"]
    assert error.code in answer.text
    assert "secret" not in answer.text
    assert "boss" not in answer.text
