"""Take one guard away at a time and show that a test turns red: ``make mutants``.

As a pytest plugin (``-p chaos.mutants``) it takes away the guard that ``EARWITNESS_MUTANT`` names; the nursery does so
in the processes of a chaos run. The last line printed is a JSON object: guard -> whether its tests noticed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import select

VARIABLE = "EARWITNESS_MUTANT"


@dataclass(frozen=True)
class Mutant:
    """A guard, how to take it away, and the tests that hold it."""

    guard: str
    remove: Callable[[], None]
    tests: tuple[str, ...]


def _without_the_epoch() -> None:
    import db.claims
    import db.setbacks
    import db.understanding
    from db.states import PassState
    from db.tables import Pass

    def any_epoch(claim: Any) -> Any:
        return Pass.id == claim.pass_id, Pass.state == PassState.LEASED

    db.claims.still_mine = db.setbacks.still_mine = any_epoch
    hold_all = db.claims.hold_all

    def hold_any_epoch(session: Any, claims: Any) -> Any:
        now = {row.id: row.epoch for row in session.execute(select(Pass.id, Pass.epoch))}
        return hold_all(session, [replace(claim, epoch=now[claim.pass_id]) for claim in claims])

    db.claims.hold_all = db.understanding.hold_all = hold_any_epoch


def _without_the_job_row() -> None:
    import db.claims
    from db.states import JobState

    # What is read of the job's row no longer says that it was cancelled.
    states = {state.name: state for state in JobState} | {"CANCELLED": "never"}
    db.claims.JobState = SimpleNamespace(**states)


def _without_the_reaper() -> None:
    import workers.reconcile

    workers.reconcile.take_back_expired = lambda context: 0


def _without_the_epoch_in_the_key() -> None:
    import workers.plan
    from storage.uris import join

    def one_for_all(storage_url: str, claim: Any, recording_id: str) -> str:
        return join(storage_url, "timelines", claim.tenant, recording_id, "timeline.pcm")

    workers.plan.timeline_name = one_for_all


def _without_the_tenants_session() -> None:
    from sqlalchemy.orm import Session

    import db.database

    db.database._session = lambda engine, tenant: Session(engine, expire_on_commit=False)


def _without_the_tenant() -> None:
    import db.queries
    from db.tables import Job

    def any_job(session: Any, tenant: str, job_id: str) -> Job:
        found = session.get(Job, job_id)
        if found is None:
            raise db.queries.NotFound(f"there is no job {job_id}")
        return found

    db.queries.get_job = any_job


def _without_isolation() -> None:
    import db.claiming

    db.claiming.suspect_from = lambda kind: 1_000_000  # claims take suspects along with others


def _without_passing_over_an_heir_in_use() -> None:
    import db.cancelling
    from db.states import FINAL_JOB_STATES
    from db.tables import Job

    def wait_for_one(session: Any, heirs: Any) -> Any:
        for heir in heirs:
            state = session.scalar(select(Job.state).where(Job.id == heir.job_id).with_for_update(read=True))
            if state is not None and state not in FINAL_JOB_STATES:
                return heir
        return None

    db.cancelling.lock_one = wait_for_one


MUTANTS = {
    "epoch": Mutant(
        "the epoch in every write of a claim",
        _without_the_epoch,
        ("tests/integration/db/test_guards.py::test_a_late_completion_does_not_count[sqlite]",),
    ),
    "job-row": Mutant(
        "the job row that a completion reads",
        _without_the_job_row,
        ("tests/integration/db/test_guards.py::test_a_cancelled_job_takes_no_result[sqlite]",),
    ),
    "reaper": Mutant(
        "the return of expired leases",
        _without_the_reaper,
        (
            "tests/integration/workers/test_attempts.py::"
            "test_a_round_takes_back_what_a_dead_worker_held_and_rings_for_it",
        ),
    ),
    "isolation": Mutant(
        "suspects apart from other claims",
        _without_isolation,
        (
            "tests/integration/db/test_suspects.py::"
            "test_who_was_held_beside_a_poison_pass_finishes_and_the_poison_one_is_set_aside[sqlite]",
        ),
    ),
    "object-key": Mutant(
        "the epoch in the names of objects",
        _without_the_epoch_in_the_key,
        ("tests/integration/workers/test_stale_planner.py",),
    ),
    "heir-in-use": Mutant(
        "a cancel that passes over an heir whose row is in use",
        _without_passing_over_an_heir_in_use,
        (
            "tests/integration/db/test_interleavings.py::"
            "test_two_cancels_of_jobs_that_are_each_others_heirs_do_not_wait_in_a_ring",
        ),
    ),
    "tenant": Mutant(
        "the tenant of every session of the API",
        _without_the_tenants_session,
        (
            "tests/integration/api/test_tenants.py::"
            "test_a_tenants_session_reaches_no_row_of_another_even_where_a_query_forgets_to_ask",
        ),
    ),
    "tenant-query": Mutant(
        "the tenant in the query for a job",
        _without_the_tenant,
        ("tests/integration/db/test_guards.py::test_a_job_of_another_tenant_is_not_there[sqlite]",),
    ),
}


def remove_guard(name: str) -> None:
    """Take a guard away in this process."""
    MUTANTS[name].remove()


def pytest_configure() -> None:
    """Take the guard away that the environment names."""
    if name := os.environ.get(VARIABLE):
        remove_guard(name)


def notices(name: str) -> bool:
    """Run the tests of a guard without it, in a process of their own; True when they turn red, as they should."""
    tests = MUTANTS[name].tests
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-x",
        "-p",
        "chaos.mutants",
        "-p",
        "no:cacheprovider",
        *tests,
    ]
    found = subprocess.run(
        command, env={**os.environ, VARIABLE: name}, capture_output=True, text=True, timeout=300
    )
    if found.returncode not in (0, 1):  # 1: tests failed; all else means that they did not run
        raise RuntimeError(f"the tests of {name} did not run:\n{found.stdout}\n{found.stderr}")
    return found.returncode == 1


def main() -> int:
    """Take away the guards that are named, or all; exit code 1 where nobody noticed."""
    names = sys.argv[1:] or list(MUTANTS)
    noticed = {}
    for name in names:
        noticed[name] = notices(name)
        print(f"without {MUTANTS[name].guard}: {'red' if noticed[name] else 'STILL GREEN'}", flush=True)
    print(json.dumps(noticed))
    return int(not all(noticed.values()))


if __name__ == "__main__":
    sys.exit(main())
