"""Offer a worker's context on SQLite and a folder, with a doorbell that records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from db.database import Database
from db.states import PassKind
from settings import Settings
from storage import open_store
from workers.context import WorkerContext
from workers.leases import LeaseKeeper


class RecordingDoorbell:
    def __init__(self) -> None:
        self.rings: list[tuple[PassKind, str, int]] = []

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        self.rings.append((kind, model, count))

    def close(self) -> None:
        pass


@pytest.fixture
def context(sqlite_database: Database, tmp_path: Path) -> WorkerContext:
    settings = Settings(data_dir=tmp_path, lease_seconds=1.0, poll_seconds=0.05)
    settings.scratch_dir.mkdir()
    store = open_store(settings.resolved_storage_url)
    return WorkerContext("w1", settings, sqlite_database, store, RecordingDoorbell(), settings.scratch_dir)


@pytest.fixture
def keeper(context: WorkerContext) -> Iterator[LeaseKeeper]:
    keeper = LeaseKeeper(context.database, context.settings.lease_seconds)
    yield keeper
    keeper.close()
