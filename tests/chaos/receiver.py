"""Receive webhooks and fail on purpose: refusals and silence at a rate that can be set, and a log that outlives a kill.

``python -m chaos.receiver PORT SEED LOG RATE``. Each message is one line of the log, written before it is answered: a
line with a status of 200 to 299 says that the message has arrived, whether or not its sender has learned of it.
``POST /__rate/0.2`` sets the share of messages that go wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from chaos.facts import Received
from support.servers import ROOT, wait_until

HANG_SECONDS = 2.5  # longer than a sender of the run waits
FAULTS = (500, 503, 404, None)  # None: no answer


class Receiver:
    """The process, which may be killed and started again at the same address."""

    def __init__(self, port: int, seed: int, log: Path, environment: Mapping[str, str]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port, self._seed, self._log, self._environment = port, seed, log, environment
        self._rate = 0.0
        self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, with the rate of before."""
        self._starts += 1
        numbers = [str(self._port), str(self._seed + self._starts), str(self._log), str(self._rate)]
        with self._log.with_suffix(".log").open("ab") as sink:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "chaos.receiver", *numbers],
                cwd=ROOT,
                env=dict(self._environment),
                stdout=sink,
                stderr=sink,
            )
        wait_until(self._answers, 30, "the receiver answers")

    def fail(self, rate: float) -> None:
        """Let this share of the messages go wrong."""
        self._rate = rate
        httpx.post(f"{self.url}/__rate/{rate}").raise_for_status()

    def kill(self) -> None:
        """Be gone, in the middle of whatever it does."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def received(self) -> list[Received]:
        """Return everything that came, in its order."""
        lines = self._log.read_text().splitlines() if self._log.exists() else []
        return [Received(**json.loads(line)) for line in lines]

    def _answers(self) -> bool:
        try:
            return httpx.get(self.url, timeout=2).is_success
        except httpx.HTTPError:
            return False


class Handler(BaseHTTPRequestHandler):
    """Answer one connection."""

    rate = 0.0
    dice: random.Random
    log: int  # a file descriptor
    lock = threading.Lock()

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(204)

    def do_POST(self) -> None:
        declared = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(declared)
        if len(body) < declared:  # its sender died in mid-sentence: no receiver takes that for a message
            self.close_connection = True
            return
        if self.path.startswith("/__rate/"):
            type(self).rate = float(self.path.rsplit("/", 1)[1])
            self._answer(204)
            return
        with self.lock:
            status = self.dice.choice(FAULTS) if self.dice.random() < self.rate else 204
            line = {
                "path": self.path,
                "message_id": self.headers.get("webhook-id", ""),
                "timestamp": self.headers.get("webhook-timestamp", ""),
                "signature": self.headers.get("webhook-signature", ""),
                "body": body.decode(errors="replace"),
                "status": status,
                "at": time.time(),
            }
            os.write(self.log, json.dumps(line).encode() + b"\n")
        if status is None:
            time.sleep(HANG_SECONDS)
            self.close_connection = True
            return
        self._answer(status)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _end_with(parent: int) -> None:
    """End this process when whoever started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Serve until the process is ended."""
    port, seed, log, rate = sys.argv[1:]
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    bound = {"dice": random.Random(int(seed)), "log": descriptor, "rate": float(rate)}
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), type("Bound", (Handler,), bound))
    server.daemon_threads = True
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
