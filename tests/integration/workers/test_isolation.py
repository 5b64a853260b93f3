"""A process that works on a suspect works on nothing else, and neither suspects nor others wait for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from support.jobs import submit
from support.servers import wait_until

from db.claims import Claim, hold
from db.setbacks import suspect_from
from db.states import PassKind, PassState
from db.suspects import claim_suspect
from db.tables import Pass
from workers import isolation
from workers.context import WorkerContext
from workers.gate import Gate
from workers.leases import Lease
from workers.runner import Lane, Runner

PLAN, RETIRE = PassKind.PLAN, PassKind.RETIRE


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(isolation, "STEP_SECONDS", 0.02)


class Watched:
    """Work that takes a while, and notes what was worked on at the same time."""

    def __init__(self, seconds: float = 0.05) -> None:
        self._seconds, self._lock = seconds, threading.Lock()
        self.running: set[str] = set()
        self.company: dict[str, int] = {}  # pass -> how many others were worked on beside it, at most
        self.order: list[str] = []

    def __call__(self, context: WorkerContext, lease: Lease) -> None:
        mine = lease.claim.pass_id
        with self._lock:
            self.running.add(mine)
            for one in self.running:
                self.company[one] = max(self.company.get(one, 0), len(self.running) - 1)
        end = time.monotonic() + self._seconds
        try:
            while time.monotonic() < end:
                lease.check()
                time.sleep(0.01)
            self._complete(context, lease.claim)
        finally:
            with self._lock:
                self.running.remove(mine)
                self.order.append(mine)

    @staticmethod
    def _complete(context: WorkerContext, claim: Claim) -> None:
        with context.database.write() as session:
            hold(session, claim)


@contextmanager
def running(context: WorkerContext, *lanes: Lane) -> Iterator[Runner]:
    runner = Runner(context, lanes, poll_seconds=0.05)
    runner.start()
    try:
        yield runner
    finally:
        runner.stop(5.0)


def plans(context: WorkerContext, count: int, name: str = "x") -> list[str]:
    """Make ready passes and return them in their order."""
    job_id = submit(context.database, uris=tuple(f"s3://b/{name}/{number}" for number in range(count)))
    with context.database.read() as session:
        return list(session.scalars(select(Pass.id).where(Pass.job_id == job_id).order_by(Pass.id)))


def suspect(context: WorkerContext, *passes: str) -> None:
    with context.database.write() as session:
        session.execute(update(Pass).where(Pass.id.in_(passes)).values(crashes=suspect_from(PLAN)))


def are_done(context: WorkerContext) -> Callable[[], bool]:
    def look() -> bool:
        with context.database.read() as session:
            return set(session.scalars(select(Pass.state))) == {PassState.DONE}

    return look


def test_a_suspect_is_worked_on_alone_and_the_others_together(context: WorkerContext) -> None:
    passes = plans(context, 12)
    suspect(context, passes[0], passes[5])
    work = Watched()
    with running(context, Lane(PLAN, 4, work)):
        wait_until(are_done(context), 20, "every pass is done")
    assert [work.company[one] for one in (passes[0], passes[5])] == [0, 0]
    assert max(work.company.values()) == 3


def test_nothing_of_another_kind_is_worked_on_beside_a_suspect(context: WorkerContext) -> None:
    passes = plans(context, 12)
    with context.database.write() as session:
        session.execute(update(Pass).where(Pass.id.in_(passes[6:])).values(kind=RETIRE))
    suspect(context, passes[3], passes[8])
    work = Watched()
    with running(context, Lane(PLAN, 2, work), Lane(RETIRE, 2, work)):
        wait_until(are_done(context), 20, "every pass is done")
    assert [work.company[one] for one in (passes[3], passes[8])] == [0, 0]
    assert max(work.company.values()) >= 2


def test_a_thread_that_is_lent_works_on_nothing_beside_a_suspect(context: WorkerContext) -> None:
    passes = plans(context, 3)
    suspect(context, passes[0])
    work = Watched(0.3)
    with running(context, Lane(PLAN, 4, work)) as runner:
        wait_until(lambda: passes[0] in work.running, 10, "the suspect is worked on")
        assert not runner.work_one(PLAN)
        wait_until(are_done(context), 20, "every pass is done")
    assert work.company[passes[0]] == 0


def test_a_suspect_that_comes_to_a_busy_process_has_its_turn_before_the_work_runs_out(
    context: WorkerContext,
) -> None:
    passes = plans(context, 60)
    work = Watched(0.02)
    with running(context, Lane(PLAN, 2, work)):
        wait_until(lambda: len(work.order) > 3, 10, "work has begun")
        suspect(context, late := passes[-1])  # the last of its queue
        wait_until(are_done(context), 30, "every pass is done")
    assert work.company[late] == 0
    assert work.order.index(late) < 40


def test_others_have_their_turn_before_many_suspects_are_done(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "IN_A_ROW", 3)
    passes = plans(context, 15)
    suspect(context, *passes[:12])
    work = Watched(0.01)
    with running(context, Lane(PLAN, 2, work)):
        wait_until(are_done(context), 20, "every pass is done")
    assert work.order.index(passes[12]) <= 3 + 2
    assert all(work.company[one] == 0 for one in passes[:12])


def test_a_process_that_waits_for_its_others_keeps_its_suspect_and_gives_it_back_when_it_stops(
    context: WorkerContext,
) -> None:
    first, second = plans(context, 2)
    work = Watched(30.0)
    with running(context, Lane(PLAN, 2, work)) as runner:
        wait_until(lambda: len(work.running) == 2, 10, "work has begun")
        (late,) = plans(context, 1, "late")
        suspect(context, late)

        def waits_for() -> float:
            with context.database.read() as session:
                due = session.scalars(select(Pass.not_before).where(Pass.id == late)).one()
            return due.timestamp() - time.time() if due is not None else 0.0

        wait_until(lambda: waits_for() > 0, 10, "it is reserved")
        time.sleep(1.5 * context.settings.lease_seconds)
        assert waits_for() > 0  # renewed
        assert runner.seconds_since_look() < 1.0  # this process does not hang
        runner.stop(0.1)
        assert waits_for() <= 0
    with context.database.read() as session:
        rows = session.execute(select(Pass.state, Pass.attempts).where(Pass.id.in_((first, second, late))))
        assert {tuple(row) for row in rows} == {(PassState.READY, 0)}


def test_a_suspect_that_does_not_end_in_time_is_given_back_too(context: WorkerContext) -> None:
    (one,) = plans(context, 1)
    suspect(context, one)
    work = Watched(30.0)
    with running(context, Lane(PLAN, 2, work)) as runner:
        wait_until(lambda: work.running, 10, "work has begun")
        runner.stop(0.1)
    with context.database.read() as session:
        found = session.scalars(select(Pass).where(Pass.id == one)).one()
    assert (found.state, found.attempts, found.not_before) == (PassState.READY, 0, None)


def test_a_suspect_that_could_not_be_claimed_has_another_turn(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = plans(context, 4)
    suspect(context, passes[0])
    claimed: list[object] = []

    def claim_after_a_failure(*arguments: Any, **more: Any) -> Claim | None:
        claimed.append(arguments)
        if len(claimed) == 1:
            raise OperationalError("UPDATE", {}, Exception("gone"))
        return claim_suspect(*arguments, **more)

    monkeypatch.setattr(isolation, "claim_suspect", claim_after_a_failure)
    work = Watched()
    with running(context, Lane(PLAN, 2, work)):
        wait_until(are_done(context), 20, "every pass is done")
    assert len(claimed) == 2
    assert work.company[passes[0]] == 0


def test_a_gate_is_shut_by_one_and_empty_when_all_have_left() -> None:
    gate = Gate()
    assert gate.enter()
    gate.become(2)
    assert gate.shut()
    assert not gate.shut()
    assert not gate.enter()
    gate.leave()
    assert not gate.is_empty_within(0.0)
    gate.leave()
    assert gate.is_empty_within(0.0)
    gate.let_in()
    assert not gate.is_empty_within(0.0)
    gate.open()
    assert gate.enter()
