"""Do harm on purpose, chosen by a seed: kill and stop processes that hold work, servers too, all at the same time."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos.receiver import Receiver
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from support.databases import PostgresServer
from support.servers import RedisServer, wait_until

from db.database import Database

STARVE_SECONDS = 1.5  # for which a worker may open no file and no connection
S3_PAUSE_SECONDS = 25.0  # between its outages
S3_GONE_SECONDS = 8.0  # longer than a client of S3 tries a request again
TRIES = 8  # to find a process that holds work at the moment when it is stopped


@dataclass
class Nemesis:
    """Harm a running service until told to heal; ``faults`` counts only what had an effect.

    A worker is stopped first and harmed only if the database says that it holds a claim just then.
    """

    folder: Path  # where the nursery writes ``pids.json``
    database: Database
    lease_seconds: float
    dice: random.Random
    pause_seconds: float = 0.4
    receiver: Receiver | None = None
    leave_s3: Callable[[bool], None] | None = None  # whether it is gone
    redis: RedisServer | None = None
    postgres: PostgresServer | None = None
    server_pause_seconds: float = 4.0
    faults: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _stopped: dict[int, float] = field(default_factory=dict)  # process id -> when it goes on
    _starved: dict[int, tuple[float, tuple[int, int]]] = field(
        default_factory=dict
    )  # and what it may open then
    _threads: list[threading.Thread] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Begin, in threads: workers and the API in one, each server in its own."""
        self._spawn(self._harm_workers)
        if self.receiver is not None:
            self._spawn(lambda: self._harm_servers([self._kill_receiver]))
        if self.leave_s3 is not None:
            self._spawn(self._harm_s3)
        if self.redis is not None:
            self._spawn(lambda: self._harm_servers([self._wipe_redis, self._kill_redis, self._pause_redis]))
        if self.postgres is not None:
            self._spawn(lambda: self._harm_servers([self._restart_postgres]))

    def heal(self) -> None:
        """End all harm, let everybody go on, and wait until the servers answer."""
        self._ended.set()
        for thread in self._threads:
            thread.join(timeout=60.0)
            assert not thread.is_alive(), "a part of the nemesis does not end"
        self._go_on(everybody=True)

    def note(self, kind: str, what: str = "") -> None:
        """Count a fault that had an effect."""
        self.faults[kind] += 1
        self.notes.append(f"{time.monotonic() - self._began:7.2f} s  {kind} {what}".rstrip())

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _harm_workers(self) -> None:
        while not self._ended.wait(self.pause_seconds * self.dice.uniform(1.0, 1.3)):
            self._go_on()
            draw = self.dice.random()
            with suppress(ProcessLookupError):
                if draw < 0.08:
                    self._kill_api()
                elif draw < 0.2:
                    self._starve()
                else:
                    self._harm_holder("stop" if draw < 0.45 else "kill")

    def _harm_holder(self, kind: str) -> None:
        for _ in range(TRIES):
            pids = self._pids()
            running = [pid for slot, pid in pids.items() if slot != "api" and pid not in self._stopped]
            if len(running) < 2 or self._ended.is_set():  # somebody has to do the work that is taken over
                return
            pid = self.dice.choice(running)
            os.kill(pid, signal.SIGSTOP)
            held = self._held_by(pid)
            if held:
                if kind == "kill":
                    os.kill(pid, signal.SIGKILL)
                else:
                    self._stopped[pid] = time.monotonic() + 1.6 * self.lease_seconds
                self.note(f"worker {kind}", f"(held {held})")
                return
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.02)

    def _starve(self) -> None:
        """Take from a worker that holds work the right to open anything, for a while."""
        workers = [pid for slot, pid in self._pids().items() if slot != "api" and pid not in self._starved]
        for pid in self.dice.sample(workers, len(workers)):
            if held := self._held_by(pid):
                before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (0, before[1]))
                self._starved[pid] = time.monotonic() + STARVE_SECONDS, before
                self.note("worker starve", f"(held {held})")
                return

    def _held_by(self, pid: int) -> int:
        try:
            with self.database.read() as session:
                query = "SELECT count(*) FROM passes WHERE state = 'leased' AND worker LIKE :one"
                return int(session.scalar(text(query), {"one": f"%:{pid}:%"}) or 0)
        except SQLAlchemyError:
            return 0  # PostgreSQL is down at the moment

    def _kill_api(self) -> None:
        if (pid := self._pids().get("api")) is not None:
            os.kill(pid, signal.SIGKILL)
            self.note("api kill")

    def _go_on(self, *, everybody: bool = False) -> None:
        for pid, until in list(self._stopped.items()):
            if everybody or time.monotonic() >= until:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
                del self._stopped[pid]
        for pid, (until, before) in list(self._starved.items()):
            if everybody or time.monotonic() >= until:
                with suppress(ProcessLookupError):
                    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                del self._starved[pid]

    def _pids(self) -> dict[str, int]:
        with suppress(FileNotFoundError):
            pids: dict[str, int] = json.loads((self.folder / "pids.json").read_text())
            return pids
        return {}

    def _harm_servers(self, kinds: list[Callable[[], None]]) -> None:
        dice = random.Random(self.dice.random())
        while not self._ended.wait(self.server_pause_seconds * dice.uniform(0.7, 1.3)):
            dice.choice(kinds)()

    def _harm_s3(self) -> None:
        assert self.leave_s3 is not None
        dice = random.Random(self.dice.random())
        while not self._ended.wait(S3_PAUSE_SECONDS * dice.uniform(0.7, 1.3)):
            self.leave_s3(True)
            self.note("S3 gone")
            self._ended.wait(S3_GONE_SECONDS)
            self.leave_s3(False)

    def _kill_receiver(self) -> None:
        assert self.receiver is not None
        self.receiver.kill()
        self.note("receiver kill")
        time.sleep(self.server_pause_seconds / 3)
        self.receiver.start()

    def _wipe_redis(self) -> None:
        assert self.redis is not None
        self.redis.wipe()
        self.note("redis wipe")

    def _kill_redis(self) -> None:
        assert self.redis is not None
        self.redis.kill()
        self.note("redis kill")
        time.sleep(0.7)
        self.redis.start()

    def _pause_redis(self) -> None:
        assert self.redis is not None
        with self.redis.paused():
            self.note("redis pause")
            time.sleep(1.5)

    def _restart_postgres(self) -> None:
        assert self.postgres is not None
        self.postgres.crash()
        self.note("postgres crash")
        time.sleep(0.3)
        self.postgres.start_again()
        wait_until(self._database_answers, 30, "PostgreSQL answers again")

    def _database_answers(self) -> bool:
        try:
            with self.database.read() as session:
                return bool(session.scalar(text("SELECT 1")))
        except SQLAlchemyError:
            return False
