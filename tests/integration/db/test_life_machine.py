"""Whatever happens in whatever order: a state machine over the store, with a dict as its model.

``EARWITNESS_TEST_EXAMPLES`` makes it go deeper: the number of lives that are tried.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select, update
from support.databases import sqlite_template
from support.jobs import claim, facts, plan, request, submit
from support.lives import (
    FINISH,
    PLAN,
    RETIRE,
    UNDERSTAND,
    cancel,
    expire,
    extend,
    finish,
    remove,
    retire,
    retry,
    run_all,
    understand,
)

from db.cancelling import JobOver
from db.claims import Claim, Failure, JobCancelled, LeaseLost, find_lost, renew_leases
from db.database import Database
from db.deleting import is_expired
from db.failures import fail_pass, return_expired
from db.history import check_events, check_rows, load_history
from db.queries import NotFound
from db.repairing import find_idle, find_unended, find_unretired, open_again, retire_again
from db.retrying import JobNotOver, NothingToAsk, NothingToRetry
from db.setbacks import find_expired
from db.states import FINAL_JOB_STATES, JobState, PassState, RequestState
from db.tables import Job, JobRequest, Pass, RecordingRequest, Result

EXAMPLES = int(os.environ.get("EARWITNESS_TEST_EXAMPLES", "12"))
TASKS = ("transcribe", "caption")
CHUNKS = 2

_template: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def template(tmp_path_factory: pytest.TempPathFactory) -> None:
    _template[:] = [sqlite_template(tmp_path_factory.mktemp("machine"))]


class Lives(RuleBasedStateMachine):
    """Clients, workers that come and go, and time."""

    @initialize()
    def open(self) -> None:
        shm = Path("/dev/shm")
        self.folder = tempfile.mkdtemp(dir=shm if shm.is_dir() else None)
        path = Path(self.folder) / "earwitness.db"
        shutil.copy(_template[0], path)
        self.database = Database(f"sqlite:///{path}")
        self.jobs: dict[str, str | None] = {}  # accepted -> the final state in which it was seen
        self.held: list[Claim] = []
        self.results: set[tuple[str, str]] = set()

    # Clients.

    @rule(
        tasks=st.sets(st.sampled_from(TASKS), min_size=1),
        uris=st.lists(st.sampled_from(["s3://b/1", "s3://b/2"]), min_size=1, max_size=2, unique=True),
        priority=st.integers(0, 1),
    )
    def submit(self, tasks: set[str], uris: list[str], priority: int) -> None:
        asked = [request(task) for task in sorted(tasks)]
        self.jobs[submit(self.database, *asked, uris=tuple(uris), priority=priority)] = None

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = self._a_job(data)
        try:
            cancel(self.database, job_id)
        except JobOver:
            assert self.jobs[job_id] is not None

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), cancelled=st.booleans())
    def retry(self, data: st.DataObject, cancelled: bool) -> None:
        with suppress(JobNotOver, NothingToRetry):
            self.jobs[retry(self.database, self._a_job(data), cancelled=cancelled)] = None

    @precondition(lambda self: self.jobs)
    @rule(data=st.data(), task=st.sampled_from(TASKS))
    def ask_more(self, data: st.DataObject, task: str) -> None:
        with suppress(NothingToAsk):
            self.jobs[extend(self.database, self._a_job(data), request(task))] = None

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        job_id = self._a_job(data)
        remove(self.database, job_id)
        del self.jobs[job_id]
        with pytest.raises(NotFound):
            remove(self.database, job_id)

    # Workers.

    @rule(kind=st.sampled_from([PLAN, UNDERSTAND, FINISH, RETIRE]))
    def claim(self, kind: Any) -> None:
        if found := claim(self.database, kind):
            self.held.append(found)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        """Complete a claim, stale ones too: those must change nothing."""
        found = data.draw(st.sampled_from(self.held))
        self.held.remove(found)
        is_mine = not self._lost([found])
        before = self._answers()
        try:
            self._work(found)
        except (LeaseLost, JobCancelled):
            assert not is_mine
            assert self._answers() == before
        else:
            assert is_mine

    @precondition(lambda self: self.held)
    @rule(data=st.data(), retryable=st.booleans())
    def fail(self, data: st.DataObject, retryable: bool) -> None:
        found = data.draw(st.sampled_from(self.held))
        self.held.remove(found)
        is_mine = not self._lost([found])
        try:
            with self.database.write() as session:
                fail_pass(session, found, Failure("bug", "a bug", retryable=retryable))
        except LeaseLost:
            assert not is_mine

    @precondition(lambda self: self.held)
    @rule()
    def renew(self) -> None:
        lost = self._lost(self.held)
        with self.database.write() as session:
            assert {one.pass_id for one in renew_leases(session, self.held, 30)} == {
                one.pass_id for one in lost
            } - ({one.pass_id for one in self.held if one not in lost})

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def fall_silent(self, data: st.DataObject) -> None:
        """The lease runs out; the worker does not know, and keeps its claim."""
        found = data.draw(st.sampled_from(self.held))
        if not self._lost([found]):
            expire(self.database, found)
            self._take_back()

    @rule()
    def wait(self) -> None:
        with self.database.write() as session:
            session.execute(update(Pass).values(not_before=None))

    @rule()
    def reconcile(self) -> None:
        self._take_back()
        with self.database.write() as session:
            assert not [one for one in find_idle(session) if open_again(session, one)]
            assert find_unended(session) == []
            for job_id in find_unretired(session):
                assert retire_again(session, job_id)

    # What always holds.

    @invariant()
    def nothing_is_wrong(self) -> None:
        if not hasattr(self, "database"):
            return
        with self.database.read() as session:
            assert check_events(load_history(session)) == []
            assert check_rows(session) == []
            assert find_idle(session) == []
            states = {row.id: row.state for row in session.execute(select(Job.id, Job.state))}
        for job_id, final in self.jobs.items():
            assert job_id in states, "an accepted job is gone"
            if final is not None:
                assert states[job_id] == final, "what has ended stays"
            if states[job_id] in FINAL_JOB_STATES:
                self.jobs[job_id] = states[job_id]

    def teardown(self) -> None:
        """Let everything run to its end: every job ends, and has an answer for all that it asked."""
        if not hasattr(self, "database"):
            return
        try:
            self._drain()
            self.nothing_is_wrong()
            self._check_ends()
        finally:
            self.database.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _drain(self) -> None:
        for found in self.held:
            if not self._lost([found]):
                expire(self.database, found)
        for _ in range(20):
            self._take_back()
            self.wait()
            run_all(self.database, chunks=CHUNKS)
            with self.database.write() as session:
                for job_id in find_unretired(session):
                    retire_again(session, job_id)
                if not session.scalar(
                    select(Pass.id).where(Pass.state.in_((PassState.READY, PassState.LEASED))).limit(1)
                ):
                    return
        raise AssertionError("work goes on for ever")

    def _check_ends(self) -> None:
        with self.database.read() as session:
            jobs = session.scalars(select(Job)).all()
            assert {job.id for job in jobs} == set(self.jobs), "deleted jobs are gone, the others are there"
            for job in jobs:
                assert job.state in FINAL_JOB_STATES
                assert not is_expired(session, job)
                if job.state != JobState.SUCCEEDED:
                    continue
                counts = session.scalars(
                    select(RecordingRequest)
                    .join(JobRequest, JobRequest.request_id == RecordingRequest.request_id)
                    .where(JobRequest.job_id == job.id)
                ).all()
                assert counts
                assert all(one.state != RequestState.STITCHED or one.chunks_total == CHUNKS for one in counts)

    def _work(self, found: Claim) -> None:
        if found.kind == PLAN:
            plan(self.database, found, facts(CHUNKS))
        elif found.kind == UNDERSTAND:
            understand(self.database, found)
        elif found.kind == FINISH:
            finish(self.database, found)
        else:
            retire(self.database, found)

    def _take_back(self) -> None:
        with self.database.read() as session:
            expired = find_expired(session)
        for found in expired:
            with self.database.write() as session:
                return_expired(session, found)

    def _lost(self, claims: list[Claim]) -> list[Claim]:
        with self.database.read() as session:
            return find_lost(session, claims)

    def _answers(self) -> set[tuple[str, str]]:
        with self.database.read() as session:
            return {tuple(row) for row in session.execute(select(Result.chunk_id, Result.request_id))}

    def _a_job(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.jobs)))


Lives.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    derandomize=EXAMPLES <= 12,
    suppress_health_check=list(HealthCheck),
)
TestLives = Lives.TestCase
