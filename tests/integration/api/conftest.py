"""Serve the real application on SQLite and a folder, with a doorbell that records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from db.database import Database
from db.states import PassKind
from db.upgrade import upgrade
from settings import Settings


class RecordingDoorbell:
    def __init__(self) -> None:
        self.rings: list[tuple[PassKind, str, int]] = []
        self.error: Exception | None = None

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        self.rings.append((kind, model, count))
        if self.error is not None:
            raise self.error


@pytest.fixture(scope="session")
def _template(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("template") / "earwitness.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture
def settings(tmp_path, _template) -> Settings:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "earwitness.db").write_bytes(_template.read_bytes())
    return Settings(data_dir=tmp_path / "data", max_upload_bytes=100_000)


@pytest.fixture
def database(settings) -> Iterator[Database]:
    database = Database(settings.resolved_database_url)
    yield database
    database.close()


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture
def client(settings, doorbell) -> Iterator[TestClient]:
    app = create_app(settings, doorbell=doorbell)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def submitted(client) -> str:
    answer = client.post("/v1/jobs", json={"sources": ["s3://archive/tape.flac"], "tasks": ["caption"]})
    return answer.json()["id"]
