"""Submit jobs over REST while everything breaks, and keep a log of what was answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from chaos.checker import Submitted
from chaos.service import SOURCES, source_uri

STYLES = ("clotho", "audiocaps", "plain")
CANCEL_SHARE = 0.2  # of the jobs
MOST_SENDS = 4  # of one submission that got no clear answer
AGAIN_SHARE = 0.1  # of the submissions are sent again although they were acknowledged
MISSING_SHARE = 0.04  # of the sources: objects that do not exist


@dataclass
class Clients:
    """Threads that keep the service busy, and their log."""

    url: str
    seed: int
    keys: Mapping[str, str]  # tenant -> API key
    has_room: Callable[[], bool]  # whether more work should come
    count: int = 3
    log: list[Submitted] = field(default_factory=list)
    foreign_reads: list[str] = field(default_factory=list)  # answers about another tenant's jobs
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        """Begin."""
        for number in range(self.count):
            thread = threading.Thread(target=self._run, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=30.0)

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self.seed}/client/{number}")
        tenant = sorted(self.keys)[number % len(self.keys)]
        headers = {"Authorization": f"Bearer {self.keys[tenant]}"}
        with httpx.Client(base_url=self.url, timeout=8.0, headers=headers) as http:
            turn = 0
            while not self._ended.is_set():
                if not self.has_room():
                    time.sleep(0.1)
                    continue
                sent = self._submit(http, dice, tenant, f"{number}-{turn}")
                turn += 1
                with self._lock:
                    self.log.append(sent)
                    others = [one.job_id for one in self.log if one.tenant != tenant and one.job_id]
                if others:
                    self._peep(http, tenant, dice.choice(others))
                time.sleep(dice.uniform(0.0, 0.2) if sent.outcome == "acknowledged" else 0.3)

    def _submit(self, http: httpx.Client, dice: random.Random, tenant: str, mark: str) -> Submitted:
        numbers = [
            SOURCES + dice.randrange(100) if dice.random() < MISSING_SHARE else dice.randrange(SOURCES)
            for _ in range(dice.randint(1, 3))
        ]
        uris = [source_uri(number) for number in numbers]
        styles = dice.sample(STYLES, dice.randint(1, 3))
        sent = Submitted(mark, "unknown", uris, tenant)
        body = {
            "sources": uris,
            "tasks": [{"task": "caption", "options": {"style": style}} for style in styles],
            "metadata": {"mark": mark},
        }
        job_id = None
        for turn in range(MOST_SENDS):
            if turn:
                time.sleep(0.3 * turn)
            job_id = self._send(http, body, mark)
            if job_id is not None:
                break
        if job_id is None:
            return sent
        sent = replace(sent, outcome="acknowledged", job_id=job_id)
        if dice.random() < AGAIN_SHARE:
            sent = replace(sent, again=self._send(http, body, mark))
        return self._cancel(http, dice, sent) if dice.random() < CANCEL_SHARE else sent

    def _send(self, http: httpx.Client, body: Any, key: str) -> str | None:
        """Send a submission under its idempotency key; None where no clear answer came."""
        try:
            answer = http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
        except httpx.HTTPError:
            return None
        return str(answer.json()["id"]) if answer.status_code == 202 else None

    def _peep(self, http: httpx.Client, tenant: str, job_id: str) -> None:
        """Ask for what is another tenant's: there is no such job."""
        try:
            answer = http.get(f"/v1/jobs/{job_id}")
        except httpx.HTTPError:
            return
        if answer.status_code not in (404, 503):
            self.foreign_reads.append(f"{tenant} got {answer.status_code} for job {job_id} of another tenant")

    def _cancel(self, http: httpx.Client, dice: random.Random, sent: Submitted) -> Submitted:
        """Cancel the job after a while; only a clear yes counts."""
        time.sleep(dice.uniform(0.0, 1.5))
        try:
            answer = http.post(f"/v1/jobs/{sent.job_id}/cancel")
        except httpx.HTTPError:
            return sent
        return replace(sent, cancelled=answer.is_success and answer.json()["state"] == "cancelled")
