"""Print the service's rates in one table: accept, expand, drain and plan, beside raw commits and raw Celery.

``make bench-service``, with both cores idle. Each part is a bench of its own, run here in its own process:
``bench.accept``, ``bench.drain``, ``bench.archive`` and ``bench.celery_noop``. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """One bench: its module, and its arguments for a full and for a quick run."""

    module: str
    full: Sequence[str] = ()
    quick: Sequence[str] = ()


PARTS = (
    Part("bench.celery_noop", quick=("--tasks", "500")),
    Part("bench.accept", quick=("--seconds", "3")),
    Part(
        "bench.drain",
        ("--finished", "1000000", "--cancelled", "100000"),
        ("--finished", "10000", "--passes", "500", "--cancelled", "2000"),
    ),
    Part("bench.archive", quick=("--objects", "2000", "--real-hours", "0.02", "--stub-hours", "1")),
)

GOALS = {  # what is printed -> the part's own name of it, what it has to reach, and what it is
    "accept_pg": ("postgresql_jobs_per_second", ">= 100", "jobs accepted over HTTP a second, PostgreSQL"),
    "accept_sqlite": ("sqlite_jobs_per_second", ">= 60", "the same, SQLite with synchronous=FULL"),
    "accept_p99_ms": ("accept_p99_ms", "< 250", "p99 of an accept at 32 clients, the slower database, ms"),
    "expand_per_s": ("expand_per_s", ">= 2000", "objects a second that a prefix becomes recordings"),
    "drain_pg": ("postgresql_passes_per_second", ">= 300", "passes drained a second, PostgreSQL"),
    "drain_sqlite": ("sqlite_passes_per_second", ">= 250", "the same, SQLite"),
    "celery_noop_per_s": ("celery_noop_per_s", "", "raw Celery tasks that do nothing a second, Redis"),
    "plan_100h_peak_mb": (
        "plan_100h_peak_mb",
        "< 400",
        "memory while a recording of 100 hours is planned, MB",
    ),
}


def main() -> int:
    """Run all parts, print the table and the JSON line."""
    arguments = _arguments()
    found: dict[str, float] = {}
    for part in PARTS:
        print(f"== {part.module}", flush=True)
        found |= _run(part.module, part.quick if arguments.quick else part.full)
    # The slower of the two databases has to keep the promise.
    found["accept_p99_ms"] = max(found["postgresql_p99_ms"], found["sqlite_p99_ms"])
    print(_table(found))
    print(json.dumps({name: round(found[key], 1) for name, (key, _, _) in GOALS.items()}))
    return 0


def _run(module: str, arguments: Sequence[str]) -> dict[str, float]:
    """Run one bench, show what it prints, and return its last line."""
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # our own modules
    assert process.stdout is not None
    last = "{}"
    for line in process.stdout:
        print(f"   {line}", end="", flush=True)
        last = line
    if process.wait():
        raise SystemExit(f"{module} failed")
    found: dict[str, float] = json.loads(last)
    return found


def _table(found: Mapping[str, float]) -> str:
    rows = [f"{'figure':20} {'measured':>10}  {'at least':10} what"]
    rows += [f"{name:20} {found[key]:10.1f}  {goal:10} {what}" for name, (key, goal, what) in GOALS.items()]
    for kind, short in (("postgresql", "pg"), ("sqlite", "sqlite")):
        share = found[f"{kind}_passes_per_second"] / found["celery_noop_per_s"]
        commits = found[f"{kind}_commits_per_second"]
        rows.append(f"drain_{short}: {share:.2f} of raw Celery; raw commits {commits:.0f}/s in the same run")
    return "\n".join(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; no figures")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
