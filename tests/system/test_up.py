"""The service as a newcomer runs it, from outside: one command, HTTP, and a database file. Imports nothing of ours."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "samples" / "audio"
EARWITNESS = [sys.executable, "-m", "cli.main"]


class Service:
    """A running ``earwitness up``."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.log = folder / "up.log"
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                [*EARWITNESS, "up", "--port", "0", "--data-dir", str(self.data)],
                cwd=ROOT,
                env={**os.environ, "EARWITNESS_LEASE_SECONDS": "2", "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
                stdout=sink,
                stderr=sink,
            )
        self.url = ""

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.text()
            found = re.search(r"(http://127\.0\.0\.1:\d+)/docs", self.text())
            self.url = found[1] if found else ""
            return bool(found)

        wait_until(ready, 60, self.text)

    def request(
        self, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> Any:
        asked = urllib.request.Request(self.url + path, body, {"content-type": kind}, method=method)
        with urllib.request.urlopen(asked, timeout=30) as response:
            return json.load(response)

    def upload(self, path: Path) -> str:
        boundary = uuid.uuid4().hex
        head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
        body = head.encode() + path.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
        found = self.request("POST", "/v1/uploads", body, f"multipart/form-data; boundary={boundary}")
        return str(found["uri"])

    def submit(self, uris: list[str], *tasks: Any) -> str:
        body = json.dumps({"sources": uris, "tasks": tasks}).encode()
        return str(self.request("POST", "/v1/jobs", body)["id"])

    def wait(self, job_id: str, seconds: float = 90) -> str:
        def state() -> str:
            return str(self.request("GET", f"/v1/jobs/{job_id}")["state"])

        wait_until(lambda: state() not in ("queued", "running"), seconds, self.text)
        return state()

    def sql(self, query: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(f"file:{self.data / 'earwitness.db'}?mode=ro", uri=True) as connection:
            return connection.execute(query).fetchall()

    def find_process(self, word: str) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                line = child.cmdline()
            except psutil.Error:
                continue
            if word in line and "cli.tether" not in line:
                return child
        return None


def wait_until(check: Callable[[], object], seconds: float, why: Callable[[], str]) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"not within {seconds} s:\n{why()}"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("up"))
    try:
        running.wait_ready()
        yield running
    finally:
        children = psutil.Process(running.process.pid).children(recursive=True)
        running.process.send_signal(signal.SIGTERM)
        try:
            code = running.process.wait(40)
        finally:
            running.process.kill()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert code == 0, running.text()
        assert alive == [], "processes were left behind"


def test_a_file_goes_in_and_rows_come_out(service: Service) -> None:
    job = service.submit([service.upload(SAMPLES / "voicemail.wav")], "transcribe", "caption", "emotion")
    assert service.wait(job) == "succeeded"
    [(state, done)] = service.sql(f"SELECT state, recordings_done FROM jobs WHERE id = '{job}'")
    assert (state, done) == ("succeeded", 1)
    [(caption, start, end)] = service.sql("SELECT caption, start_ms, end_ms FROM captions")
    assert caption
    assert (start, end) == (0, service.sql("SELECT duration_ms FROM recordings")[0][0])


def test_a_question_about_the_sound_gets_the_likeliest_of_its_choices(service: Service) -> None:
    asked = {"task": "ask", "options": {"question": "is somebody speaking?", "choices": ["yes", "no"]}}
    job = service.submit([service.upload(SAMPLES / "voicemail.wav")], asked, "language")
    assert service.wait(job) == "succeeded"
    [(question, answer)] = service.sql("SELECT question, answer FROM answers")
    assert question == "is somebody speaking?"
    assert answer in ("yes", "no")
    [(label, data)] = service.sql("SELECT label, data FROM summaries WHERE task = 'language'")
    assert abs(sum(json.loads(data)["probabilities"].values()) - 1) < 0.01
    assert label in json.loads(data)["probabilities"]


def test_a_bad_request_names_the_field(service: Service) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        service.submit(["s3://bucket/key"], {"task": "transcribe", "options": {"timestamp": "word"}})
    assert caught.value.code == 422
    problem = json.load(caught.value)
    assert "timestamp" in problem["errors"][0]["field"]
    assert "timestamps" in problem["errors"][0]["message"]


@pytest.mark.parametrize("module", ["workers.gpu", "workers.cpu"])
def test_a_worker_killed_with_9_comes_back_and_nothing_is_lost(service: Service, module: str) -> None:
    uris = [service.upload(SAMPLES / name) for name in ("tour.ogg", "call.m4a", "kitchen.mp3")]
    job = service.submit(uris, "transcribe", "caption")
    kind = "understand" if module.endswith("gpu") else "plan"
    busy = f"SELECT count(*) FROM passes WHERE kind = '{kind}' AND state = 'leased' AND job_id = '{job}'"
    wait_until(lambda: service.sql(busy)[0][0], 60, service.text)
    victim = service.find_process(module)
    assert victim is not None
    victim.send_signal(signal.SIGKILL)
    assert service.wait(job) == "succeeded"
    doubled = service.sql("SELECT 1 FROM results GROUP BY chunk_id, request_id HAVING count(*) > 1")
    assert doubled == []
    wait_until(lambda: service.find_process(module) not in (None, victim), 30, service.text)
