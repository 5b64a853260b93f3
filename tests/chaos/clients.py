"""Keep a service busy over REST while everything breaks: a few clients of several tenants, each in a thread."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
from chaos.client import Client
from chaos.facts import Hook, Submitted

ACT_SHARE = 0.35  # of the turns are about jobs of before
ALL_KINDS = (
    "job.accepted", "job.succeeded", "job.partial", "job.failed", "job.cancelled",
    "recording.succeeded", "recording.partial", "recording.failed",
)  # fmt: skip


@dataclass
class Clients:
    """Threads that keep the service busy, and what they saw."""

    url: str
    seed: int
    keys: Mapping[str, str]  # tenant -> API key
    receiver_url: str
    has_room: Callable[[], bool]  # whether more work should come
    count: int = 3
    foreign_reads: list[str] = field(default_factory=list)  # answers about another tenant's jobs
    hooks: dict[str, Hook] = field(default_factory=dict)  # path -> webhook
    _clients: list[Client] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Register webhooks, submit a first job each, and begin."""
        for number in range(self.count):
            self._clients.append(self._open(number))
        for client in self._clients:
            self._register(client)
        for client in self._clients:
            thread = threading.Thread(target=self._run, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End after what is under way."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=60.0)
            assert not thread.is_alive(), "a client does not end"

    def last_acts(self) -> None:
        """Let each client do what it has left to do, now that nothing breaks any more."""
        for client in self._clients:
            client.last_acts()

    def log(self) -> list[Submitted]:
        """Return everything that was asked for, and its job as REST shows it now."""
        found = []
        for client in self._clients:
            for sent in client.log.values():
                if sent.job_id is not None and sent.deleted == "no":
                    answer = client.http.get(f"/v1/jobs/{sent.job_id}", timeout=15)
                    sent = replace(sent, shown=answer.json() if answer.is_success else None)
                found.append(replace(sent, shown=sent.shown if sent.deleted == "no" else None))
        return found

    def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            client.http.close()

    def _open(self, number: int) -> Client:
        tenant = sorted(self.keys)[number % len(self.keys)]
        http = httpx.Client(
            base_url=self.url, timeout=8.0, headers={"Authorization": f"Bearer {self.keys[tenant]}"}
        )
        dice = random.Random(f"{self.seed}/client/{number}")
        hook_url = f"{self.receiver_url}/{tenant}/jobs-of-{number}"
        return Client(http, dice, self.seed, tenant, str(number), hook_url)

    def _register(self, client: Client) -> None:
        """Ask to be told of all jobs of the tenant, of everything and of ends alone, and of those that say so."""
        wanted: list[dict[str, Any]] = [
            {"url": f"{self.receiver_url}/{client.tenant}/all", "events": list(ALL_KINDS)},
            {"url": f"{self.receiver_url}/{client.tenant}/ends"},
        ]
        for body in wanted:
            path = body["url"].removeprefix(self.receiver_url)
            if path not in self.hooks:
                answer = client.http.post("/v1/webhooks", json=body).raise_for_status().json()
                self.hooks[path] = Hook(answer["id"], answer["secret"])
        client.submit_first()
        assert client.hook_id is not None, "the first job told of no webhook"
        assert client.secret is not None, "the first job told no secret"
        path = client.hook_url.removeprefix(self.receiver_url)
        self.hooks[path] = Hook(client.hook_id, client.secret)

    def _run(self, client: Client) -> None:
        while not self._ended.is_set():
            if client.dice.random() < ACT_SHARE:
                client.act()
            elif self.has_room():
                sent = client.submit()
                time.sleep(0.0 if sent.outcome == "acknowledged" else 0.3)
            others = [one.job_id for one in self._others(client) if one.job_id is not None]
            if others and (fact := client.peep(client.dice.choice(others))) is not None:
                self.foreign_reads.append(fact)
            time.sleep(client.dice.uniform(0.05, 0.3))

    def _others(self, client: Client) -> list[Submitted]:
        return [
            sent
            for other in self._clients
            if other.tenant != client.tenant
            for sent in list(other.log.values())
        ]
