"""Run the whole production line: S3, REST, Redis and Celery worker processes, PostgreSQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from fastapi.testclient import TestClient
from moto.server import ThreadedMotoServer
from sqlalchemy import text
from support.databases import PostgresServer
from support.servers import RedisServer, WorkerProcess, wait_until

from api.app import create_app
from db.database import Database
from settings import Settings
from workers.doorbell import CeleryDoorbell

BUCKET = "calls"
FINAL = ("succeeded", "partial", "failed", "cancelled")


@dataclass
class Stack:
    """A running line; ``client`` talks REST, ``query`` talks SQL, ``s3`` is the bucket's client."""

    client: TestClient
    database: Database
    s3: Any
    environment: Mapping[str, str]
    folder: Path
    workers: list[WorkerProcess] = field(default_factory=list)

    def start_worker(self, role: str) -> WorkerProcess:
        """Start a worker process and wait until it takes work."""
        log = self.folder / f"{role}-{len(self.workers)}.log"
        process = WorkerProcess(f"workers.{role}", self.environment, log)
        self.workers.append(process)
        process.wait_for("is ready")
        return process

    def put(self, key: str, body: bytes) -> str:
        """Store an object and return its URI."""
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def submit(self, uris: list[str], tasks: list[Any], **more: Any) -> str:
        """Submit a job over REST and return its id."""
        body = {"sources": [{"uri": uri} for uri in uris], "tasks": tasks, **more}
        response = self.client.post("/v1/jobs", json=body)
        assert response.status_code == 202, response.text
        return str(response.json()["id"])

    def wait(self, job_id: str, seconds: float = 90.0) -> dict[str, Any]:
        """Return the job when it is over."""
        wait_until(lambda: self.job(job_id)["state"] in FINAL, seconds, f"the job is over:\n{self.logs()}")
        return self.job(job_id)

    def job(self, job_id: str) -> dict[str, Any]:
        """Ask REST for a job."""
        response = self.client.get(f"/v1/jobs/{job_id}")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    def query(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        """Ask the database."""
        with self.database.read() as session:
            return [tuple(row) for row in session.execute(text(sql), values)]

    def logs(self) -> str:
        """Return the ends of all workers' logs."""
        return "\n".join(f"== {one.log.name}\n{one.text()[-2_000:]}" for one in self.workers)


@contextlib.contextmanager
def running_stack(postgres: PostgresServer, redis_server: RedisServer, folder: Path) -> Iterator[Stack]:
    """Start everything but the workers on fresh data, and end it all."""
    s3_server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3_server.start()
    host, port = s3_server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with contextlib.ExitStack() as ends:
        ends.callback(s3_server.stop)
        name = ends.enter_context(postgres.fresh())
        environment = {
            "EARWITNESS_DATABASE_URL": postgres.plain_url(name),
            "EARWITNESS_BROKER_URL": redis_server.url,
            "EARWITNESS_STORAGE_URL": f"s3://{BUCKET}/earwitness",
            "EARWITNESS_S3_ENDPOINT_URL": endpoint,
            "EARWITNESS_S3_REGION": "us-east-1",
            "EARWITNESS_S3_PATH_STYLE": "true",
            "EARWITNESS_DATA_DIR": str(folder / "data"),
            "EARWITNESS_LEASE_SECONDS": "2",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }
        patched = ends.enter_context(_environment(environment))
        settings = Settings()
        database = Database(settings.resolved_database_url)
        ends.callback(database.close)
        s3 = boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        doorbell = CeleryDoorbell(settings.broker_url)
        ends.callback(doorbell.close)
        client = ends.enter_context(TestClient(create_app(settings, doorbell=doorbell)))
        stack = Stack(client, database, s3, patched, folder)
        ends.callback(lambda: [one.kill() for one in stack.workers if one.process.poll() is None])
        yield stack


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[Mapping[str, str]]:
    import pytest

    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        yield values
