"""Harm a service for a while, heal it, and check what it left: ``make chaos SEED=... DURATION=...``.

The last line printed is one JSON object: ``{"faults", "lost", "doubled", "stuck", "seed"}``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from chaos import fakes
from chaos.checker import Row, Snapshot, Submitted, Violation, check, tally
from chaos.clients import Clients
from chaos.nemesis import Nemesis
from chaos.service import MOST_TRIES, Service, running_service
from chaos.sources import BUCKET, listed
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from support.databases import PostgresServer
from support.servers import RedisServer

from db.tables import Recording, Table
from pipeline.tasks import get_task

LEASE_SECONDS = 2.5
S3_ERROR_RATE = 0.2
RECEIVER_ERROR_RATE = 0.25
REST_SECONDS = 90.0  # to become quiet after the last harm
BACKLOG = 48  # passes that are open at a time


@dataclass
class Report:
    """What was done to a service, and what it came to."""

    database: str
    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    storage_faults: Counter[str] = field(default_factory=Counter)
    violations: Sequence[Violation] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def show(self) -> str:
        """Return it in lines for people."""
        lines = [
            f"{self.database}, seed {self.seed}",
            f"  faults: {self.faults.total()} ({_counted(self.faults)})",
            f"  of S3: {self.storage_faults.total()} ({_counted(self.storage_faults)})",
            "  " + ", ".join(f"{name}: {value}" for name, value in self.facts.items()),
            f"  broken promises: {len(self.violations)}",
        ]
        return "\n".join([*lines, *(f"    {v.invariant} {v.kind}: {v.fact}" for v in self.violations[:20])])


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def harm(
    folder: Path,
    seed: int,
    duration: float,
    *,
    postgres: PostgresServer | None = None,
    redis: RedisServer | None = None,
    pause_seconds: float = 0.4,
    server_pause_seconds: float = 4.0,
    backlog: int = BACKLOG,
) -> Report:
    """Run a service under harm for ``duration`` seconds, let it come to rest, and check it."""
    report = Report("PostgreSQL" if postgres is not None else "SQLite", seed)
    with running_service(
        folder, seed, lease_seconds=LEASE_SECONDS, postgres=postgres, redis=redis
    ) as service:
        nemesis = Nemesis(
            folder,
            service.database,
            LEASE_SECONDS,
            random.Random(seed),
            pause_seconds=pause_seconds,
            receiver=service.receiver,
            leave_s3=service.leave_s3,
            redis=redis,
            postgres=postgres if postgres is not None and postgres.is_ours else None,
            server_pause_seconds=server_pause_seconds,
        )
        clients = Clients(
            service.url, seed, service.keys, service.receiver.url, lambda: count_open(service) < backlog
        )
        clients.start()
        service.fail_s3(S3_ERROR_RATE)
        service.receiver.fail(RECEIVER_ERROR_RATE)
        nemesis.start()
        time.sleep(duration / 2)
        service.mend()
        time.sleep(duration / 2)
        clients.stop()
        nemesis.heal()
        report.storage_faults.update(service.s3_state()["faults"])
        service.fail_s3(0.0)
        service.receiver.fail(0.0)
        rested = time.monotonic()
        wait_for_rest(service)
        report.facts["came to rest in"] = f"{time.monotonic() - rested:.1f} s"
        clients.last_acts()
        wait_for_rest(service)
        time.sleep(LEASE_SECONDS)  # the reconcilers sweep private folders meanwhile
        submitted = clients.log()
        clients.close()
        report.facts["workers that did not end well"] = service.stop()
        unreferred, uploads = count_unreferred(service), service.s3_state()
        service.collect()
        snapshot = replace(
            take_snapshot(service, submitted), foreign_reads=clients.foreign_reads, hooks=clients.hooks
        )
        report.violations = check(snapshot)
        report.faults, report.notes = nemesis.faults, nemesis.notes
        report.facts |= _facts(service, snapshot) | {
            "objects collected in the end": unreferred,
            "uploads in parts": ", ".join(f"{count} {name}" for name, count in uploads["uploads"].items()),
            "unfinished uploads swept in the end": len(uploads["unfinished"]),
            "the oldest of them": f"{max((one['seconds'] for one in uploads['unfinished']), default=0):.0f} s",
        }
    return report


def count_open(service: Service, *, messages: bool = False) -> int:
    """Count the passes that somebody still has to work on, those of messages to webhooks too where that is asked.

    A database that is down counts as full.
    """
    query = "SELECT count(*) FROM passes WHERE state IN ('ready', 'leased')"
    query += "" if messages else " AND kind != 'deliver'"
    try:
        with service.database.read() as session:
            return int(session.scalar(text(query)) or 0)
    except SQLAlchemyError:
        return BACKLOG


def wait_for_rest(service: Service) -> None:
    """Return when nothing is open, or when time is up: the checker then says what is stuck."""
    end = time.monotonic() + REST_SECONDS
    quiet = 0
    while quiet < 3 and time.monotonic() < end:
        quiet = quiet + 1 if count_open(service, messages=True) == 0 else 0
        time.sleep(0.3)


def take_snapshot(service: Service, submitted: Sequence[Submitted]) -> Snapshot:
    """Read everything that a service left behind."""
    with service.database.read() as session:
        tables = {
            table.name: [dict(row) for row in session.execute(select(table)).mappings()]
            for table in Table.metadata.sorted_tables
        }
    objects = our_objects(service)
    scratch = service.folder / "data" / "scratch"
    return Snapshot(
        tables,
        objects,
        submitted,
        service.pcm_of,
        says,
        MOST_TRIES,
        listed=listed,
        is_broken=fakes.is_broken,
        fate=fakes.fate_of,
        collected=True,
        unfinished=[one["key"] for one in service.s3_state()["unfinished"]],
        uploads_at=f"s3://{BUCKET}/earwitness/uploads/",
        received=service.receiver.received(),
        scratch=[path.name for path in scratch.iterdir()] if scratch.exists() else [],
    )


def our_objects(service: Service) -> dict[str, str]:
    """Return the hash of every object that the service wrote, by URI."""
    ours = f"/{BUCKET}/earwitness/"
    found = service.s3_state()["objects"]
    return {f"s3:/{key}": one["sha256"] for key, one in found.items() if key.startswith(ours)}


def count_unreferred(service: Service) -> int:
    """Count the objects that no row names."""
    with service.database.read() as session:
        named = set(session.scalars(select(Recording.timeline_uri)))
    timelines = {uri for uri in our_objects(service) if "/timelines/" in uri}
    return len(timelines - named)


def says(pcm: bytes, request: Row) -> str:
    """Return what the hash engine says of samples when a row of ``requests`` is asked."""
    task: Any = get_task(request["task"])
    return fakes.said_of(pcm, task.prompt(task.Options.model_validate(request["options"])))


def _facts(service: Service, snapshot: Snapshot) -> dict[str, Any]:
    passes = snapshot.tables["passes"]
    logs = service.logs()
    sent = snapshot.submitted
    made = Counter(one.kind for one in sent if one.outcome == "acknowledged")
    taken = [(one.path, one.message_id) for one in snapshot.received if one.taken]
    return {
        "jobs submitted": made["submit"],
        "retries": made["retry"],
        "asked more": made["more"],
        "deleted": sum(event["kind"] == "job.deleted" for event in snapshot.tables["events"]),
        "unknown outcomes": sum(one.outcome == "unknown" for one in sent),
        "prefixes and manifests": ", ".join(
            f"{count} {state}"
            for state, count in sorted(
                Counter(row["state"] for row in snapshot.tables["job_sources"]).items()
            )
        ),
        "recordings": len(snapshot.tables["recordings"]),
        "passes": len(passes),
        "claims": sum(row["epoch"] for row in passes),
        "crashes": sum(row["crashes"] for row in passes),
        "errors": sum(row["errors"] for row in passes),
        "results": len(snapshot.tables["results"]),
        "stale workers fenced": len(re.findall(r"no longer holds the lease|has taken it over", logs)),
        "rests": len(re.findall(r"lane rests for", logs)),
        "cancelled in time": sum(one.cancelled for one in sent),
        "passes failed for good": sum(row["state"] == "failed" for row in passes),
        "messages": len(set(taken)),
        "posts": len(snapshot.received),
        "taken twice": len(taken) - len(set(taken)),
        "most attempts of a pass": max((row["attempts"] for row in passes), default=0),
    }


def quick_folder() -> Path | None:
    """Return a folder in memory where there is one: the harm is to processes, and a slow disk only hides it."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2**29 else None


def main() -> int:
    """Run both databases and print; exit code 1 where a promise was broken or nothing was harmed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--duration", type=float, default=110.0, help="seconds of harm for each database")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--keep", type=Path, help="folder for logs and databases; else they are removed")
    options = parser.parse_args()
    reports = []
    for kind in ("sqlite", "postgresql"):
        if options.database in (kind, "both"):
            print(
                f"harming a service on {kind} for {options.duration:.0f} s, seed {options.seed}", flush=True
            )
            reports.append(_run(kind, options))
            print(reports[-1].show(), flush=True)
    counts: Counter[str] = Counter()
    for report in reports:
        counts.update(tally(report.violations))
    faults = sum(report.faults.total() for report in reports)
    shown = {"faults": faults, **{kind: counts[kind] for kind in ("lost", "doubled", "stuck")}}
    print(json.dumps({**shown, "seed": options.seed}))
    unharmed = any(report.faults.total() == 0 for report in reports)
    return int(unharmed or counts.total() > 0)


def _run(kind: str, options: argparse.Namespace) -> Report:
    with ExitStack() as ends:
        if options.keep is None:
            temporary = tempfile.TemporaryDirectory(prefix="earwitness-chaos-", dir=quick_folder())
            folder = Path(ends.enter_context(temporary))
        else:
            folder = options.keep.absolute() / kind
            folder.mkdir(parents=True)
        servers: dict[str, Any] = {}
        if kind == "postgresql":
            servers = {"postgres": PostgresServer(quick_folder()), "redis": RedisServer()}
            for server in servers.values():
                ends.callback(server.close)
        report = harm(folder, options.seed, options.duration, **servers)
        if options.keep is not None:
            (folder / "nemesis.txt").write_text("\n".join(report.notes))
        return report


if __name__ == "__main__":
    sys.exit(main())
