"""Fork the workers and the API from one process that has imported everything, and fork dead ones again.

``python -m chaos.nursery CONFIG.json``. Nothing is opened before a fork: no thread, no connection. The present
process ids stand in ``pids.json`` beside the configuration. SIGTERM ends the children in their own way; exit code 1
says that one of them did not.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import uvicorn
from chaos import fakes, mutants
from chaos.facts import MENDED, POISON
from chaos.sources import PAGE

import db.claiming
import db.delivering
import db.setbacks
import db.suspects
import db.upgrade
import storage.s3
import storage.s3_writing
import workers.celery_app
import workers.cpu
import workers.deliver
import workers.expand
import workers.housekeeping
import workers.plan
from api.app import create_app
from db.states import PassKind
from settings import load_settings
from settings.logs import configure_logging
from webhooks.posting import PostOptions
from workers.context import WorkerContext, open_context
from workers.doorbell import open_doorbell
from workers.process import run_worker
from workers.runner import Lane
from workers.understand import Ear

STOP_SECONDS = 25.0
POST_SECONDS = 1.5  # that a message may take


def open_lanes(context: WorkerContext, config: Mapping[str, Any]) -> list[Lane]:
    """Return everything that a worker does, with the hash engine."""
    places = config["places"]
    mended = Path(config["mended"])

    def cannot_hear(clip: bytes) -> bool:
        fate = fakes.fate_of(clip)
        return fate == POISON or (fate == MENDED and not mended.exists())

    engine = fakes.HashEngine(config["seed"], places, config["longest_seconds"], cannot_hear)
    ear = Ear(engine, fakes.MODEL)
    hearing = Lane(PassKind.UNDERSTAND, places, ear.understand, model=fakes.MODEL)
    return [*workers.cpu.open_lanes(context), hearing]


def run_api(config: Mapping[str, Any], listening: socket.socket) -> int:
    """Serve the API on the inherited socket."""
    settings = load_settings()
    configure_logging(settings.log_level)
    app = create_app(settings, doorbell=open_doorbell(settings))
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run([listening])
    return 0


class Nursery:
    """The children by their slots."""

    def __init__(self, config: Mapping[str, Any], folder: Path) -> None:
        self._config, self._folder = config, folder
        self._listening = socket.create_server(("127.0.0.1", config["api_port"]), backlog=128)
        self._slots = ["api", *(f"w{number}" for number in range(config["workers"]))]
        self._pids: dict[str, int] = {}
        self._stopping = False
        self.unclean: list[str] = []

    def run(self) -> int:
        """Look after the children until SIGTERM, or until whoever started us is gone."""
        parent = os.getppid()
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopping", True))
        while not self._stopping and os.getppid() == parent:
            for slot in self._slots:
                if slot not in self._pids:
                    self._fork(slot)
            self._reap()
            time.sleep(0.05)
        for pid in self._pids.values():
            os.kill(pid, signal.SIGTERM)
        end = time.monotonic() + STOP_SECONDS
        while self._pids and time.monotonic() < end:
            self._reap()
            time.sleep(0.05)
        for slot, pid in self._pids.items():
            self.unclean.append(f"{slot} did not end")
            os.kill(pid, signal.SIGKILL)
        for sentence in self.unclean:
            print(sentence, file=sys.stderr)
        return 1 if self.unclean else 0

    def _fork(self, slot: str) -> None:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            log = os.open(self._folder / f"{slot}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            code = 70
            try:
                code = self._be(slot)
            except KeyboardInterrupt:
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        self._pids[slot] = pid
        self._tell()

    def _be(self, slot: str) -> int:
        try:
            if slot == "api":
                return run_api(self._config, self._listening)
            return run_worker(slot, lambda context: open_lanes(context, self._config))
        except BaseException:
            import traceback

            traceback.print_exc()
            raise

    def _reap(self) -> None:
        for slot, pid in list(self._pids.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if not found:
                continue
            del self._pids[slot]
            if self._stopping and (code := os.waitstatus_to_exitcode(status)) not in (0, -signal.SIGTERM):
                self.unclean.append(f"{slot} ended with {code}")
            self._tell()

    def _tell(self) -> None:
        part = self._folder / "pids.part"
        part.write_text(json.dumps(self._pids))
        part.replace(self._folder / "pids.json")


def collect(context: WorkerContext) -> int:
    """Remove every object that no row names, as the housekeeper does in its time; nobody writes any more."""
    housekeeper = workers.housekeeping.Housekeeper(context)
    for _ in range(2):  # the first only begins to list
        housekeeper.collect_orphans(hours=-1.0)
        housekeeper.collect_uploads()
    workers.housekeeping.UNFINISHED_HOURS = 0.0
    housekeeper.sweep_unfinished()
    return 0


def _warm() -> None:
    """Do once what every child would do anew: read the S3 client's description, and the migrations."""
    session = boto3.session.Session()
    session.client("s3", region_name="us-east-1")
    storage.s3.boto3.session.Session = lambda: session
    revision = db.upgrade.newest_revision()
    db.upgrade.newest_revision = lambda: revision


def main() -> int:
    """Prepare what all children share, and run."""
    path = Path(sys.argv[1])
    config = json.loads(path.read_text())
    workers.plan.ingest = fakes.breaking_ingest
    # Killing this often would set healthy work aside after three times, and let it rest for minutes.
    db.setbacks.MAX_CRASHES = db.setbacks.MAX_ERRORS = config["most_tries"]
    db.setbacks.MAX_FAULTS = db.delivering.MAX_FAULTS = config["most_tries"]
    db.setbacks.LONGEST_BACKOFF_SECONDS = 0.5
    db.claiming.suspect_from = db.suspects.suspect_from = lambda kind: config["suspect_from"]
    workers.process.BROKER_POLL_SECONDS = 1.0
    storage.s3_writing.PART_BYTES = config["part_bytes"]
    workers.expand.PAGE_OBJECTS, workers.expand.SLICE_SECONDS = PAGE, 0.0  # each page is a claim
    workers.deliver.PostOptions = partial(PostOptions, connect_seconds=1.0, total_seconds=POST_SECONDS)
    # Objects that no row names are collected while all this goes on, not an hour later, unfinished uploads too.
    workers.housekeeping.Housekeeper.collect_orphans.__defaults__ = (20 / 3600,)
    workers.housekeeping.UNFINISHED_HOURS = config["unfinished_seconds"] / 3600
    _warm()
    if "--collect" in sys.argv:
        return collect(open_context(load_settings(), "collector"))
    if mutant := os.environ.get(mutants.VARIABLE):
        mutants.remove_guard(mutant)
    return Nursery(config, path.parent).run()


if __name__ == "__main__":
    sys.exit(main())
