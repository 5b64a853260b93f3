"""Put a service together for harm: database, Redis or none, a failing S3, a nursery with the API and workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from chaos import fakes
from chaos.receiver import Receiver
from chaos.sources import ARCHIVES, BUCKET, SOURCES, archive_uri, listed, manifest_uri, pcm_of
from support.databases import PostgresServer, sqlite_template
from support.servers import ROOT, RedisServer, free_port, wait_until

from db.database import Database
from db.keys import create_key

WORKERS = 4
PLACES = 4  # passes that a worker hears at a time
MOST_TRIES = 60  # of one pass: under this much harm three would set healthy work aside
SUSPECT_FROM = 3  # crashes: from then on a pass runs alone, as it would in production after two
TENANTS = ("north", "south")
KEY_SECRET = "chaos" * 8
LONGEST_SECONDS = 0.6  # of one answer
PART_BYTES = 20_000  # of an upload: most recordings are longer, so that timelines and uploads have parts
UNFINISHED_SECONDS = 20.0  # after which a sweep takes an unfinished upload for one of a dead writer
WEBHOOK_PAUSES = (0.3, 0.6, *[1.0] * 118)  # many: a webhook is not to be given up under this much harm


@dataclass
class Service:
    """A running service and the ways to reach its parts."""

    folder: Path
    database: Database
    url: str
    s3_url: str
    seed: int
    nursery: subprocess.Popen[bytes]
    receiver: Receiver
    redis: RedisServer | None
    postgres: PostgresServer | None
    environment: Mapping[str, str]
    keys: Mapping[str, str]  # tenant -> API key

    def fail_s3(self, rate: float) -> None:
        """Let this share of the requests to S3 go wrong."""
        httpx.post(f"{self.s3_url}/__rate/{rate}").raise_for_status()

    def leave_s3(self, gone: bool) -> None:
        """Let S3 answer nobody, or everybody again."""
        httpx.post(f"{self.s3_url}/__gone/{int(gone)}").raise_for_status()

    def s3_state(self) -> dict[str, Any]:
        """Return what went wrong there, and all objects."""
        state: dict[str, Any] = httpx.get(f"{self.s3_url}/__state", timeout=30).json()
        return state

    def pcm_of(self, uri: str) -> bytes | None:
        """Return the samples of a source; None where there is no such object."""
        return pcm_of(self.seed, uri)

    def mend(self) -> None:
        """Let chunks be heard that could not be heard before, those that can be mended."""
        (self.folder / "mended").touch()

    def stop(self) -> int:
        """End the API and the workers in their own way; 0 when all of them did."""
        self.nursery.terminate()
        return self.nursery.wait(40)

    def collect(self) -> None:
        """Remove every object that no row names, and all unfinished uploads; nobody writes any more."""
        command = [sys.executable, "-m", "chaos.nursery", str(self.folder / "config.json"), "--collect"]
        environment = {**self.environment, "EARWITNESS_UPLOAD_DAYS": "1e-9"}
        subprocess.run(command, cwd=ROOT, env=environment, check=True)

    def logs(self) -> str:
        """Return everything that the processes wrote."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))


@contextmanager
def running_service(
    folder: Path,
    seed: int,
    *,
    lease_seconds: float,
    postgres: PostgresServer | None = None,
    redis: RedisServer | None = None,
) -> Iterator[Service]:
    """Start everything: on PostgreSQL with Redis where they are given, else on SQLite without a broker."""
    with ExitStack() as ends:
        if postgres is not None:
            name = ends.enter_context(postgres.fresh())
            database_url, plain_url = postgres.sqlalchemy_url(name), postgres.plain_url(name)
        else:
            file = sqlite_template(folder)
            database_url = plain_url = f"sqlite:///{file}"
        database = Database(database_url)
        ends.callback(database.close)
        s3_port, api_port, receiver_port = free_port(), free_port(), free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("EARWITNESS_")},
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            "AWS_ACCESS_KEY_ID": "chaos",
            "AWS_SECRET_ACCESS_KEY": "chaos",
            "EARWITNESS_DATABASE_URL": plain_url,
            "EARWITNESS_BROKER_URL": redis.url if redis is not None else "",
            "EARWITNESS_STORAGE_URL": f"s3://{BUCKET}/earwitness",
            "EARWITNESS_S3_ENDPOINT_URL": f"http://127.0.0.1:{s3_port}",
            "EARWITNESS_S3_REGION": "us-east-1",
            "EARWITNESS_S3_PATH_STYLE": "true",
            "EARWITNESS_DATA_DIR": str(folder / "data"),
            "EARWITNESS_LEASE_SECONDS": str(lease_seconds),
            "EARWITNESS_POLL_SECONDS": "0.4",
            "EARWITNESS_MODEL": fakes.MODEL,
            "EARWITNESS_REQUIRE_KEYS": "true",
            "EARWITNESS_KEY_SECRET": KEY_SECRET,
            "EARWITNESS_WEBHOOK_ALLOW_PRIVATE": "true",  # the receiver listens on loopback
            "EARWITNESS_WEBHOOK_RETRY_SECONDS": ",".join(map(str, WEBHOOK_PAUSES)),
        }
        with database.write() as session:
            keys = {
                tenant: create_key(session, tenant, "chaos", KEY_SECRET.encode()).text for tenant in TENANTS
            }
        s3 = _start(ends, ["chaos.s3_stub", str(s3_port), str(seed)], environment, folder / "s3.log")
        s3_url = f"http://127.0.0.1:{s3_port}"
        wait_until(lambda: _answers(s3_url + "/__state"), 30, "the S3 stub answers")
        with httpx.Client(base_url=s3_url) as client:
            for number in range(SOURCES):
                client.put(f"/{BUCKET}/src/{number}.pcm", content=fakes.make_pcm(seed, number))
            for number in range(ARCHIVES):
                for uri in listed(archive_uri(number)):
                    client.put(uri.removeprefix("s3:/"), content=pcm_of(seed, uri))
                lines = "\n".join(listed(manifest_uri(number)))
                client.put(manifest_uri(number).removeprefix("s3:/"), content=lines)
        config = folder / "config.json"
        config.write_text(
            json.dumps(
                {
                    "seed": seed,
                    "workers": WORKERS,
                    "places": PLACES,
                    "longest_seconds": LONGEST_SECONDS,
                    "api_port": api_port,
                    "most_tries": MOST_TRIES,
                    "suspect_from": SUSPECT_FROM,
                    "part_bytes": PART_BYTES,
                    "unfinished_seconds": UNFINISHED_SECONDS,
                    "mended": str(folder / "mended"),
                }
            )
        )
        receiver = Receiver(receiver_port, seed, folder / "received.jsonl", environment)
        ends.callback(receiver.kill)
        receiver.start()
        nursery = _start(ends, ["chaos.nursery", str(config)], environment, folder / "nursery.log")
        url = f"http://127.0.0.1:{api_port}"
        service = Service(
            folder, database, url, s3_url, seed, nursery, receiver, redis, postgres, environment, keys
        )
        wait_until(lambda: _answers(url + "/readyz"), 60, f"the API is ready:\n{service.logs()}")
        assert s3.poll() is None
        yield service


def _start(
    ends: ExitStack, argv: list[str], environment: dict[str, str], log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", *argv], cwd=ROOT, env=environment, stdout=sink, stderr=sink
        )
    ends.callback(_end, process)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
