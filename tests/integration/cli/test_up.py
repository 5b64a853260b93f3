"""Run ``earwitness up`` as people do: real processes, real signals."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from samples import list_samples

EARWITNESS = [sys.executable, "-m", "cli.main"]


def wait_for(check, seconds: float = 30.0):
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return found


@dataclass
class Running:
    process: subprocess.Popen[bytes]
    log: Path
    data: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def url(self) -> str:
        return re.search(r"API +(http://\S+)", self.text)[1]

    def child(self, command: str) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.Error):  # it may be gone by now
                if command in " ".join(child.cmdline()):
                    return child
        return None


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    log = folder / "up.log"
    arguments = ["up", "--port", "0", "--data-dir", str(folder / "data"), "--no-model-worker"]
    with log.open("wb") as file:
        process = subprocess.Popen([*EARWITNESS, *arguments], stderr=file, stdout=file)
    service = Running(process, log, folder / "data")
    try:
        wait_for(lambda: "\ntry " in service.text or process.poll() is not None, 60)
        assert process.poll() is None, service.text
        yield service
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def up(tmp_path_factory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("up")) as service:
        yield service


@pytest.fixture
def doomed(tmp_path) -> Iterator[Running]:
    """A service of its own for a test that ends it."""
    with running(tmp_path) as service:
        wait_for(lambda: service.child("workers.cpu"))
        yield service


def earwitness(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EARWITNESS, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )


def test_it_greets_and_takes_recordings(up):
    assert f"{up.data}/earwitness.db" in up.text
    sample = list_samples()[0]
    submitted = earwitness("submit", sample.path, "--task", "caption", "--api", up.url)
    assert submitted.returncode == 0, submitted.stderr
    job_id = submitted.stdout.strip()

    def measured() -> bool:
        job = httpx.get(f"{up.url}/v1/jobs/{job_id}").json()
        return job["progress"]["recordings_planned"] == 1

    wait_for(measured)
    assert f"0:{sample.duration_ms // 1000:02}." in earwitness("status", job_id, "--api", up.url).stdout


def test_it_ends_on_sigterm_with_all_its_processes(doomed):
    children = psutil.Process(doomed.process.pid).children(recursive=True)

    doomed.process.send_signal(signal.SIGTERM)

    assert doomed.process.wait(timeout=20) == 0, doomed.text
    _, still = psutil.wait_procs(children, timeout=5)
    assert still == []
    assert "Traceback" not in doomed.text
    assert "killing" not in doomed.text


def test_a_killed_worker_and_a_killed_api_start_again_while_the_port_stays(up):
    url = up.url
    for command, name in (("workers.cpu", "CPU worker"), ("cli.main api", "API")):
        first = wait_for(lambda command=command: up.child(command))
        first.send_signal(signal.SIGKILL)
        second = wait_for(lambda command=command, dead=first: _another(up.child(command), dead))
        assert second.pid != first.pid
        assert f"{name} ended with signal SIGKILL; it starts again in 1 s" in up.text

    assert httpx.get(f"{url}/healthz", timeout=30).status_code == 200


def _another(process: psutil.Process | None, dead: psutil.Process) -> psutil.Process | None:
    return None if process is None or process.pid == dead.pid else process


def test_a_second_service_on_the_same_port_says_so_and_goes(up, tmp_path):
    port = up.url.rpartition(":")[2]

    second = earwitness("up", "--port", port, "--data-dir", tmp_path / "other", "--no-model-worker")

    assert second.returncode == 1
    assert "Address already in use" in second.stderr
    assert not (tmp_path / "other" / "earwitness.db").exists()


def test_when_the_service_is_killed_its_processes_end_too(doomed):
    children = psutil.Process(doomed.process.pid).children(recursive=True)

    os.kill(doomed.process.pid, signal.SIGKILL)

    gone, still = psutil.wait_procs(children, timeout=15)
    assert len(gone) >= 2
    assert still == []


def test_an_upload_that_breaks_off_leaves_nothing_and_the_api_goes_on(up):
    host, port = up.url.removeprefix("http://").split(":")
    head = (
        b"POST /v1/uploads HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    )
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + b"x" * 100_000)
        time.sleep(0.3)

    wait_for(lambda: httpx.get(f"{up.url}/readyz", timeout=30).status_code == 200)
    objects = up.data / "objects" / "uploads"
    wait_for(
        lambda: (
            not [
                path
                for path in objects.rglob("*")
                if path.is_file() and path.name != list_samples()[0].path.name
            ]
        )
    )
    assert "Traceback" not in up.text


def test_a_json_log_is_json_to_its_last_line(tmp_path):
    log = tmp_path / "up.log"
    arguments = ["up", "--port", "0", "--data-dir", str(tmp_path / "data"), "--no-model-worker"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*EARWITNESS, *arguments], stderr=file, stdout=file, env={**os.environ, "EARWITNESS_LOG": "json"}
        )
    try:
        wait_for(lambda: '"try ' in log.read_text() or process.poll() is not None, 60)
    finally:
        process.terminate()
        process.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert {"stopping", "stopped"} <= {line["message"] for line in lines}
    assert {"cli.service", "uvicorn.error"} <= {line["logger"] for line in lines}
