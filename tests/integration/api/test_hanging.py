"""A part that takes what it is asked and answers nobody holds up what needs it, and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from fastapi.testclient import TestClient
from support.servers import wait_until

from api.app import THREADS, create_app
from api.dry_run_places import MOST_OF_TENANT
from api.routes import health, operations
from api.services import STORAGE_THREADS
from db.database import Database
from storage import StorageUnavailable

MORE_THAN_THERE_ARE = THREADS + 4
HANG_SECONDS = 20
LOCAL = ("127.0.0.1", 40_000)


class Hanging:
    def __init__(self) -> None:
        self.answers, self.asked = threading.Event(), 0

    def wait(self) -> None:
        self.asked += 1
        self.answers.wait(HANG_SECONDS)


class HangingDatabase(Database):
    hanging = Hanging()

    @contextmanager
    def read(self, tenant=None):
        self.hanging.wait()
        with super().read(tenant) as session:
            yield session

    @property
    def engine(self):
        self.hanging.wait()
        return super().engine

    def check(self):
        self.hanging.wait()


class HangingStore:
    def __init__(self, hanging: Hanging) -> None:
        self.hanging = hanging

    @contextmanager
    def writer(self, uri):
        self.hanging.wait()
        raise StorageUnavailable(uri)
        yield

    def list(self, prefix, *, after=None):
        self.hanging.wait()
        raise StorageUnavailable(prefix)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.answers.set()


@contextmanager
def asked_by_many(ask: Callable[[], object], hanging: Hanging, at_least: int) -> Iterator[None]:
    """Have many ask at once, and go on when so many of them hang."""
    with ThreadPoolExecutor(MORE_THAN_THERE_ARE) as pool:
        for _ in range(MORE_THAN_THERE_ARE):
            pool.submit(ask)
        try:
            wait_until(lambda: hanging.asked >= at_least, 30, "as many hang as can")
            yield
        finally:
            hanging.answers.set()


def test_a_database_that_hangs_is_said_while_every_thread_waits_for_it(settings, hanging, monkeypatch):
    monkeypatch.setattr(health, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(operations, "METRICS_SECONDS", 0.2)
    database = HangingDatabase(settings.resolved_database_url)
    database.hanging = hanging
    with (
        TestClient(create_app(settings, database=database), client=LOCAL) as client,
        asked_by_many(lambda: client.get("/v1/jobs"), hanging, THREADS),
    ):
        ready = client.get("/readyz")
        metrics = client.get("/metrics").text
    database.close()

    assert ready.status_code == 503
    assert [one["field"] for one in ready.json()["errors"]] == ["database", "schema"]
    assert "earwitness_up 0" in metrics
    assert "earwitness_queue_passes" not in metrics


@pytest.mark.parametrize(("what", "most"), [("upload", STORAGE_THREADS), ("dry run", MOST_OF_TENANT)])
def test_a_storage_that_hangs_holds_up_no_request_that_needs_none(settings, hanging, what, most):
    job = {"sources": ["s3://calls/a.wav"], "tasks": ["caption"]}
    prefix = {"sources": [{"prefix": "s3://calls/"}], "tasks": ["caption"], "dry_run": True}
    with TestClient(create_app(settings, store=HangingStore(hanging)), client=LOCAL) as client:

        def ask() -> object:
            if what == "upload":
                return client.post("/v1/uploads", files={"file": ("a.wav", b"RIFF")})
            return client.post("/v1/jobs", json=prefix)

        with asked_by_many(ask, hanging, most):
            began = time.monotonic()
            submitted = client.post("/v1/jobs", json=job)
            listed = client.get("/v1/jobs")
            took = time.monotonic() - began

    assert took < HANG_SECONDS / 2
    assert (submitted.status_code, listed.status_code) == (202, 200)
    assert [one["id"] for one in listed.json()["items"]] == [submitted.json()["id"]]
