"""Tenants and jobs share the workers, and nobody waits for who came with more."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import select, text, update
from support.jobs import claim, facts, plan, request, results, submit

from bench.databases import add_job, add_passes
from db.claiming import claim_passes
from db.claims import put_back, release
from db.database import Database
from db.fairness import LOOK_AHEAD
from db.keys import create_key, set_tenant
from db.states import PassKind, PassState
from db.tables import Job, Pass
from db.understanding import complete_understand

PLAN, UNDERSTAND = PassKind.PLAN, PassKind.UNDERSTAND


def many(database: Database, count: int, name: str = "x", **more: object) -> str:
    return submit(database, uris=tuple(f"s3://b/{name}/{number}" for number in range(count)), **more)


def claimed(database: Database, count: int, kind: PassKind = PLAN) -> list[str]:
    """Claim so many passes, some at a time, and return their jobs in that order."""
    found: list[str] = []
    while len(found) < count:
        with database.write() as session:
            claims = claim_passes(session, kind, "w", lease_seconds=30, limit=min(4, count - len(found)))
        assert claims, "nothing is ready"
        found += [one.job_id for one in claims]
    return found


def test_a_tenant_with_one_file_does_not_wait_for_a_tenant_with_thousands(database: Database) -> None:
    many(database, 5_000, tenant="large")
    claimed(database, 20)
    small = submit(database, tenant="small")
    assert small in claimed(database, 5)


def test_two_tenants_take_turns_whoever_came_first(database: Database) -> None:
    first, second = many(database, 60, tenant="a"), many(database, 60, tenant="b")
    taken = claimed(database, 40)
    assert abs(taken.count(first) - taken.count(second)) <= 2


def test_who_comes_later_shares_from_now_on_and_does_not_catch_up(database: Database) -> None:
    first = many(database, 80, tenant="a")
    claimed(database, 40)
    second = many(database, 40, "later", tenant="b")
    taken = claimed(database, 20)
    assert abs(taken.count(first) - taken.count(second)) <= 2


def test_a_weight_is_a_share(database: Database) -> None:
    with database.write() as session:
        create_key(session, "heavy", "", b"secret")
        set_tenant(session, "heavy", weight=3.0, max_queued=None)
    heavy, light = many(database, 80, tenant="heavy"), many(database, 80, tenant="light")
    taken = claimed(database, 40)
    assert 28 <= taken.count(heavy) <= 32
    assert light in taken


def test_two_jobs_of_a_tenant_share_too(database: Database) -> None:
    large = many(database, 500, "large")
    small = many(database, 5, "small")
    taken = claimed(database, 20)
    assert taken.count(small) == 5
    assert taken.count(large) == 15


def test_a_tenant_does_not_get_more_by_many_jobs(database: Database) -> None:
    """Forty jobs of one file and one job of forty get the same."""
    one = many(database, 40, tenant="one")
    others = [submit(database, tenant="forty", uris=(f"s3://b/{number}",)) for number in range(40)]
    taken = claimed(database, 40)
    assert 18 <= taken.count(one) <= 22
    assert taken.count(one) + sum(taken.count(job) for job in others) == 40


def test_more_jobs_than_can_be_told_apart_queue_up_behind_each_other(database: Database) -> None:
    for number in range(LOOK_AHEAD + 20):
        submit(database, tenant="many", uris=(f"s3://b/{number}",))
    with database.read() as session:
        due = session.scalars(select(Pass.virtual_time).order_by(Pass.id)).all()
    assert due == sorted(due)
    assert len(set(due)) == len(due)


def test_a_higher_priority_goes_first_and_shares_are_within_it(database: Database) -> None:
    many(database, 10, tenant="a")
    urgent = many(database, 3, tenant="b", priority=5)
    assert claimed(database, 3) == [urgent] * 3


def test_chunks_of_a_long_recording_do_not_hold_up_a_short_one(database: Database) -> None:
    for uri, chunks, tenant in (("s3://b/long", 300, "a"), ("s3://b/short", 2, "b")):
        submit(database, uris=(uri,), tenant=tenant)
        found = claim(database, PLAN)
        assert found is not None
        plan(database, found, facts(chunks))
    with database.write() as session:
        claims = claim_passes(session, UNDERSTAND, "w", model="tiny", lease_seconds=30, limit=5)
    assert [one.tenant for one in claims].count("b") == 2


def test_many_tasks_cost_more_than_one(database: Database) -> None:
    for tenant, tasks in (("a", ("transcribe", "caption", "emotion")), ("b", ("transcribe",))):
        submit(database, *map(request, tasks), uris=(f"s3://b/{tenant}",), tenant=tenant)
        found = claim(database, PLAN)
        assert found is not None
        plan(database, found, facts(30))
    with database.write() as session:
        claims = claim_passes(session, UNDERSTAND, "w", model="tiny", lease_seconds=30, limit=20)
    assert 14 <= [one.tenant for one in claims].count("b") <= 16  # one request against three


def test_a_pass_that_is_given_back_is_next_and_does_not_push_others_aside(database: Database) -> None:
    first = many(database, 50, tenant="a")
    found = claim(database, PLAN)
    claimed(database, 30)
    assert found is not None
    with database.write() as session:
        release(session, found)
    second = many(database, 50, "y", tenant="b")
    again = claim(database, PLAN)
    assert again is not None
    assert again.pass_id == found.pass_id
    taken = claimed(database, 10)
    assert abs(taken.count(first) - taken.count(second)) <= 2


def test_work_in_parts_queues_up_again_after_each(database: Database) -> None:
    jobs = [submit(database, tenant=tenant) for tenant in ("a", "b")]
    turns = []
    for _ in range(4):
        found = claim(database, PLAN)
        assert found is not None
        turns.append(found.job_id)
        with database.write() as session:
            assert put_back(session, found)
    assert turns == jobs * 2


def test_what_waits_for_a_time_is_not_claimed_before_it_and_then_first(database: Database) -> None:
    waiting = submit(database)
    with database.write() as session:
        far = text("UPDATE passes SET not_before = created_at")
        session.execute(far)
    many(database, 10, "other", tenant="b")
    assert claimed(database, 1) == [waiting]
    with database.write() as session:
        session.execute(update(Pass).where(Pass.state == PassState.READY).values(not_before=Pass.created_at))
    hour = "datetime('now', '+1 hour')" if database.is_sqlite else "now() + interval '1 hour'"
    with database.write() as session:
        session.execute(text(f"UPDATE passes SET not_before = {hour} WHERE state = 'ready'"))
    assert claim(database, PLAN) is None


def test_work_of_a_cancelled_job_is_not_handed_out_and_does_not_hide_other_work(database: Database) -> None:
    gone = add_job(database, "cancelled")
    add_passes(database, gone, 12_000, state="ready")
    alive = submit(database, tenant="b")
    with database.write() as session:  # all of it stands in front
        session.execute(update(Pass).where(Pass.job_id == alive).values(virtual_time=1e9))
    assert claimed(database, 1) == [alive]
    for _ in range(3):
        assert claim(database, PLAN) is None
    with database.read() as session:
        rows = session.execute(
            select(Pass.state, Pass.attempts, Pass.not_before.is_(None)).where(Pass.job_id == gone).distinct()
        ).all()
    assert [tuple(row) for row in rows] == [(PassState.READY, 1, False)]


def test_a_cancelled_jobs_retirement_and_webhooks_go_on(database: Database) -> None:
    gone = add_job(database, "cancelled")
    for kind in (PassKind.RETIRE, PassKind.DELIVER):
        add_passes(database, gone, 1, kind=kind, state="ready")
        assert claimed(database, 1, kind) == [gone]


def test_a_job_starts_with_its_first_claim(database: Database) -> None:
    job_id = submit(database)
    claim(database, PLAN)
    with database.read() as session:
        job = session.scalars(select(Job).where(Job.id == job_id)).one()
    assert (job.state, job.started_at is not None) == ("running", True)


def test_a_batch_of_completions_stores_what_holds_and_refuses_the_rest(database: Database) -> None:
    from db.claims import JobCancelled, LeaseLost
    from db.understanding import Understood, complete_batch

    for name in ("one", "two", "three"):
        submit(database, uris=(f"s3://b/{name}",))
        found = claim(database, PLAN)
        assert found is not None
        plan(database, found, facts(1))
    with database.write() as session:
        claims = claim_passes(session, UNDERSTAND, "w", model="tiny", lease_seconds=30, limit=3)
    good, stale, cancelled = claims
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == stale.pass_id).values(epoch=9))
        session.execute(update(Job).where(Job.id == cancelled.job_id).values(state="cancelled"))
    with database.write() as session:
        answers = complete_batch(session, [Understood(one, results(one)) for one in claims])
    assert answers[0] == 1
    assert isinstance(answers[1], LeaseLost)
    assert isinstance(answers[2], JobCancelled)
    with database.read() as session:
        done = session.execute(
            select(Pass.id, Pass.state).where(Pass.id.in_([one.pass_id for one in claims]))
        ).all()
        assert session.scalar(text("SELECT count(*) FROM results")) == 1
    assert dict(map(tuple, done)) == {
        good.pass_id: "done", stale.pass_id: "leased", cancelled.pass_id: "leased"
    }  # fmt: skip
    with pytest.raises(LeaseLost), database.write() as session:
        complete_understand(session, stale, results(stale))


def drained(database: Database, places: int) -> Sequence[str]:
    """Work through everything as a worker with so many places would, and return the tenants as they end."""
    ended: list[str] = []
    while True:
        with database.write() as session:
            claims = claim_passes(session, PLAN, "w", lease_seconds=60, limit=places)
            session.execute(update(Pass).where(Pass.id.in_([c.pass_id for c in claims])).values(state="done"))
        if not claims:
            return ended
        ended += [one.tenant for one in claims]


def test_a_one_file_tenant_is_done_in_less_than_a_tenth_of_a_large_ones_time(database: Database) -> None:
    many(database, 5_000, tenant="large")
    submit(database, tenant="small")
    order = drained(database, 50)
    assert len(order) == 5_001
    assert order.index("small") < 0.1 * len(order)
