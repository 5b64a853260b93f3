"""Measure how many single-source jobs a second a real ``earwitness api`` process accepts over HTTP, durably.

``python -m bench.accept [--seconds 20] [--clients 32] [--database sqlite]``. The clients are threads of
another process, each with a connection of its own that asks again as soon as it is answered. The raw commits
per second of the same database are taken before and after. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from bench.databases import KINDS, commits_per_second, fresh_url
from db.database import Database

WARM_SECONDS = 1.0
JOB = json.dumps(
    {"sources": ["s3://archive/tape-17.flac"], "tasks": ["transcribe"], "metadata": {"box": 7}}
).encode()


def main() -> None:
    """Measure both databases and print what was found."""
    arguments = _arguments()
    if arguments.load is not None:
        print(json.dumps(_load(arguments.load, arguments.clients, arguments.seconds)))
        return
    found: dict[str, float] = {}
    for kind in arguments.database or KINDS:
        with fresh_url(kind) as url:
            measured = measure(url, seconds=arguments.seconds, clients=arguments.clients)
        for name, value in measured.items():
            print(f"{kind:11} {name:20} {value:10.1f}", flush=True)
            found[f"{kind}_{name}"] = round(value, 1)
    print(json.dumps(found))


def measure(url: str, *, seconds: float = 20.0, clients: int = 32) -> dict[str, float]:
    """Serve the upgraded database at ``url`` and submit to it; return rates, latencies in ms, and errors."""
    database = Database(url)
    try:
        before = commits_per_second(database)
        with _serving(url) as (port, api):
            spent = sum(api.cpu_times()[:2])
            command = [sys.executable, "-m", "bench.accept", "--load", str(port)]
            command += ["--clients", str(clients), "--seconds", str(seconds)]
            done = subprocess.run(  # noqa: S603 - our own module
                command, check=True, capture_output=True, text=True
            )
            spent = sum(api.cpu_times()[:2]) - spent
        after = commits_per_second(database)
    finally:
        database.close()
    found: dict[str, float] = json.loads(done.stdout)
    found["api_cpu_ms_per_job"] = 1000 * spent / (found["jobs_per_second"] * (seconds + WARM_SECONDS))
    return {**found, "commits_per_second": (before + after) / 2, "clients": float(clients)}


@contextmanager
def _serving(url: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run ``earwitness api`` on a free loopback port; yields the port and the process."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="earwitness-bench-api-"))
    environment = {**os.environ, "EARWITNESS_DATABASE_URL": url, "EARWITNESS_DATA_DIR": str(folder)}
    log = (folder / "api.log").open("wb")
    api = subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "cli.main", "api", "--port", str(port)],
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        end = time.monotonic() + 60
        while not _answers(port):
            if api.poll() is not None or time.monotonic() > end:
                raise RuntimeError((folder / "api.log").read_text())
            time.sleep(0.1)
        yield port, psutil.Process(api.pid)
    finally:
        api.terminate()
        api.wait()
        log.close()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _load(port: int, clients: int, seconds: float) -> dict[str, float]:
    """Be the clients; return what they saw after a moment of warming up."""
    start = time.perf_counter() + WARM_SECONDS
    end = start + seconds
    took: list[float] = []
    errors: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while (asked := time.perf_counter()) < end:
            connection.request("POST", "/v1/jobs", JOB, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 202:
                errors.append(answer.status)
            elif asked >= start:
                took.append(time.perf_counter() - asked)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took.sort()
    return {
        "jobs_per_second": len(took) / seconds,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
        "errors": float(len(errors)),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--database", choices=KINDS, action="append")
    parser.add_argument("--load", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
