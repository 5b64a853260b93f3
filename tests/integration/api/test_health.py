from __future__ import annotations

import threading
from collections.abc import Iterator

import boto3
import pytest
from fastapi.testclient import TestClient
from moto.server import ThreadedMotoServer
from support.servers import wait_until

from api.app import create_app
from api.routes import health
from db.database import Database
from settings import Settings
from storage import InputAccessDenied, InputNotFound, StorageMisconfigured, StorageUnavailable


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


def test_health_may_be_asked_with_head(client):
    assert [client.head(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert client.head("/v1/jobs").status_code == 405


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
    "error",
    [
        StorageUnavailable("no route to secret-host"),
        InputAccessDenied("keys of boss"),
        StorageMisconfigured("no secret bucket"),
    ],
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


class HangingStore:
    def __init__(self) -> None:
        self.asked, self.answers = 0, threading.Event()

    def head(self, uri):
        self.asked += 1
        self.answers.wait(30)
        raise InputNotFound(uri)


def test_a_storage_that_hangs_is_said_at_once_and_asked_once_at_a_time(settings, monkeypatch):
    monkeypatch.setattr(health, "LOOK_SECONDS", 0.1)
    store = HangingStore()
    with TestClient(create_app(settings, store=store)) as client:
        for _ in range(3):
            answer = client.get("/readyz")
            assert failing(answer) == ["storage"]
            assert "does not answer" in answer.text
        assert store.asked == 1
        store.answers.set()
        wait_until(lambda: client.get("/readyz").status_code == 200, 10, "ready")


def test_a_look_at_the_storage_that_breaks_is_said(settings):
    with TestClient(create_app(settings, store=FailingStore(ZeroDivisionError()))) as client:
        assert failing(client.get("/readyz")) == ["storage"]


def test_a_folder_that_cannot_hold_objects_makes_it_not_ready_and_names_the_setting(client, settings):
    (settings.data_dir / "objects").write_text("a file")

    answer = client.get("/readyz")

    assert failing(answer) == ["storage"]
    assert "EARWITNESS_STORAGE_URL" in answer.text
    assert "storage_misconfigured" in answer.text


@pytest.fixture
def at_s3(settings, monkeypatch) -> Iterator[Settings]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
    client.create_bucket(Bucket="calls")
    client.close()
    yield settings.model_copy(
        update={"s3_endpoint_url": endpoint, "s3_region": "us-east-1", "s3_path_style": True}
    )
    server.stop()


def test_a_bucket_that_is_not_there_makes_it_not_ready(at_s3):
    answers = []
    for bucket in ("calls", "nosuchbucket"):
        settings = at_s3.model_copy(update={"storage_url": f"s3://{bucket}/prefix"})
        with TestClient(create_app(settings)) as client:
            answers.append(client.get("/readyz"))

    assert answers[0].status_code == 200
    assert failing(answers[1]) == ["storage"]
