"""A pass is set aside only for a crash that it had to itself: suspects are handed out one by one, on both databases."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from sqlalchemy import select, text, update
from support.jobs import MODEL, facts, plan, submit
from support.jobs import claim as claim_as_idle
from support.lives import FINISH, PLAN, UNDERSTAND, cancel, count, finish, job_of, must, pass_of, understand

from db.claiming import claim_passes
from db.claims import Claim, release
from db.clock import database_now
from db.database import Database
from db.delivering import AT_ONCE, claim_deliveries
from db.events import record_event
from db.failures import return_expired
from db.setbacks import MAX_CRASHES, MAX_FAULTS, find_expired, suspect_from
from db.states import JobState, PassKind, PassState
from db.suspects import Reserved, claim_suspect, has_suspects, keep_reserved, reserve_suspect
from db.tables import Job, Pass
from db.webhooks import NewWebhook, add_webhook

SUSPECT = suspect_from(UNDERSTAND)


def chunks_of_a_job(database: Database, count: int) -> tuple[str, list[str]]:
    """Return a job and its understand passes, which are ready."""
    job_id = submit(database)
    plan(database, must(claim_as_idle(database, PLAN)), facts(count))
    with database.read() as session:
        of_job = select(Pass.id).where(Pass.job_id == job_id, Pass.kind == UNDERSTAND)
        return job_id, list(session.scalars(of_job.order_by(Pass.virtual_time, Pass.id)))


def take(database: Database, limit: int = 8, worker: str = "w") -> list[Claim]:
    with database.write() as session:
        return claim_passes(session, UNDERSTAND, worker, model=MODEL, lease_seconds=30, limit=limit)


def reserve(database: Database, seconds: float = 30.0) -> Reserved | None:
    with database.write() as session:
        return reserve_suspect(session, UNDERSTAND, model=MODEL, seconds=seconds)


def take_reserved(database: Database, found: Reserved, worker: str = "w") -> Claim | None:
    with database.write() as session:
        return claim_suspect(session, found, worker, lease_seconds=30)


def crash(database: Database, claims: Sequence[Claim]) -> None:
    """Let a worker die with all that it holds, and its leases run out; nobody rests afterwards."""
    ids = [one.pass_id for one in claims]
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id.in_(ids)).values(lease_until=database_now(-1)))
    with database.read() as session:
        expired = find_expired(session)
    assert {one.pass_id for one in expired} == set(ids)
    for one in expired:
        with database.write() as session:
            return_expired(session, one)
    with database.write() as session:
        session.execute(update(Pass).where(Pass.state == PassState.READY).values(not_before=None))


def suspected(database: Database, pass_id: str, crashes: int = SUSPECT) -> None:
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == pass_id).values(crashes=crashes))


def test_who_was_held_beside_a_poison_pass_finishes_and_the_poison_one_is_set_aside(
    database: Database,
) -> None:
    job_id, passes = chunks_of_a_job(database, 6)
    poison = passes[2]
    crash(database, take(database))  # one crash costs nothing: all may be claimed together
    crash(database, together := take(database))
    assert len(together) == 6
    assert take(database) == []
    ends = []
    while suspect := reserve(database):
        found = must(take_reserved(database, suspect))
        ends.append(found.pass_id)
        if found.pass_id == poison:
            crash(database, [found])
        else:
            understand(database, found)
    assert sorted(ends) == sorted(passes)
    assert {one: pass_of(database, one).state for one in passes} == {
        one: PassState.FAILED if one == poison else PassState.DONE for one in passes
    }
    failed = pass_of(database, poison)
    assert failed.error_code == "worker_crashed"
    assert "and nothing else (3 of 3)" in (failed.error_message or "")
    finish(database, must(claim_as_idle(database, FINISH)))
    assert job_of(database, job_id).state == JobState.PARTIAL


def test_a_claim_passes_suspects_over_and_takes_what_is_behind_them(database: Database) -> None:
    _, passes = chunks_of_a_job(database, 4)
    suspected(database, passes[0])
    suspected(database, passes[2])
    assert [one.pass_id for one in take(database)] == [passes[1], passes[3]]


def test_a_pass_that_crashed_once_is_no_suspect(database: Database) -> None:
    _, passes = chunks_of_a_job(database, 2)
    suspected(database, passes[0], SUSPECT - 1)
    assert reserve(database) is None
    assert [one.pass_id for one in take(database)] == passes


def test_a_suspect_that_one_worker_has_reserved_meets_no_other_until_its_time_is_over(
    database: Database,
) -> None:
    _, passes = chunks_of_a_job(database, 1)
    suspected(database, passes[0])
    first = reserve(database)
    assert first is not None
    assert reserve(database) is None
    with database.write() as session:
        assert keep_reserved(session, first, 0.0)  # given up, or not kept
    take(database)  # lets in what has waited
    again = reserve(database)
    assert again == first
    found = must(take_reserved(database, again))
    assert found.epoch == first.epoch + 1
    assert take_reserved(database, first) is None
    with database.write() as session:
        assert release(session, found)
    assert take_reserved(database, first) is None  # it is ready once more, and not as it was reserved
    with database.write() as session:
        assert not keep_reserved(session, first, 30.0)


def test_a_worker_that_dies_before_it_begins_with_its_suspect_does_not_count(database: Database) -> None:
    _, passes = chunks_of_a_job(database, 4)
    suspected(database, passes[0])
    held = take(database)
    found = reserve(database)
    assert found is not None
    crash(database, held)
    assert pass_of(database, passes[0]).crashes == SUSPECT
    assert pass_of(database, passes[0]).state == PassState.READY


def test_a_suspect_that_is_given_back_is_ready_at_once_and_still_a_suspect(database: Database) -> None:
    _, passes = chunks_of_a_job(database, 1)
    suspected(database, passes[0])
    found = reserve(database)
    assert found is not None
    with database.write() as session:
        assert release(session, must(claim_suspect(session, found, "w", lease_seconds=30)))
    assert take(database) == []
    assert reserve(database) is not None


def test_two_workers_that_meet_a_suspect_at_once_do_not_wait_and_one_has_it(
    postgres_database: Database,
) -> None:
    _, passes = chunks_of_a_job(postgres_database, 1)
    suspected(postgres_database, passes[0])
    with postgres_database.write() as one, postgres_database.write() as two:
        first = reserve_suspect(one, UNDERSTAND, model=MODEL, seconds=30)
        assert reserve_suspect(two, UNDERSTAND, model=MODEL, seconds=30) is None
    assert first is not None
    with postgres_database.write() as one, postgres_database.write() as two:
        assert claim_suspect(one, first, "w1", lease_seconds=30) is not None
        assert claim_suspect(two, first, "w2", lease_seconds=30) is None


def test_suspects_of_other_kinds_and_models_are_not_met(database: Database) -> None:
    _, passes = chunks_of_a_job(database, 1)
    suspected(database, passes[0])
    with database.write() as session:
        assert has_suspects(session, UNDERSTAND, model=MODEL)
        for kind, model in ((UNDERSTAND, "other"), (PLAN, ""), (FINISH, "")):
            assert not has_suspects(session, kind, model=model)
            assert reserve_suspect(session, kind, model=model, seconds=1) is None


def test_the_most_urgent_suspect_comes_first(database: Database) -> None:
    _, passes = chunks_of_a_job(database, 3)
    for one in passes:
        suspected(database, one)
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == passes[2]).values(priority=5))
    assert [found.pass_id for _ in passes if (found := reserve(database))] == [
        passes[2], passes[0], passes[1]
    ]  # fmt: skip


def test_a_suspect_of_a_cancelled_job_is_left_to_those_who_retire_it(database: Database) -> None:
    job_id, passes = chunks_of_a_job(database, 2)
    for one in passes:
        suspected(database, one)
    found = reserve(database)
    assert found is not None
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(state=JobState.CANCELLED))
    assert reserve(database) is None
    assert take_reserved(database, found) is None
    assert pass_of(database, found.pass_id).state == PassState.READY


def test_a_cancel_ends_a_suspect_that_is_reserved(database: Database) -> None:
    job_id, passes = chunks_of_a_job(database, 1)
    suspected(database, passes[0])
    found = reserve(database)
    assert found is not None
    cancel(database, job_id)
    assert take_reserved(database, found) is None
    with database.write() as session:
        assert not keep_reserved(session, found, 30.0)
    assert count(database, Pass, Pass.kind == UNDERSTAND, Pass.state == PassState.CANCELLED) == 1


def test_a_job_whose_first_work_is_a_suspect_begins(database: Database) -> None:
    job_id = submit(database)
    with database.write() as session:
        session.execute(update(Pass).values(crashes=suspect_from(PLAN)))
    assert claim_as_idle(database, PLAN) is not None
    assert job_of(database, job_id).state == JobState.RUNNING


def test_a_delivery_is_a_suspect_before_its_last_fault_and_keeps_to_its_webhooks_places(
    database: Database,
) -> None:
    job_id = submit(database)
    with database.write() as session:
        add_webhook(session, NewWebhook("default", "https://a.example/hook", "whsec_b25l", ["job.succeeded"]))
        for _ in range(AT_ONCE + 1):
            record_event(session, "job.succeeded", tenant="default", job_id=job_id, actor="test")
        session.execute(update(Pass).where(Pass.kind == PassKind.DELIVER).values(crashes=MAX_CRASHES))

    def deliveries(limit: int) -> list[Claim]:
        with database.write() as session:
            return claim_deliveries(session, PassKind.DELIVER, "w", lease_seconds=30, limit=limit)

    def alone() -> Claim | None:
        with database.write() as session:
            found = reserve_suspect(session, PassKind.DELIVER, seconds=0.0)
            return found and claim_suspect(session, found, "w", lease_seconds=30)

    assert alone() is None  # crashes that would make a suspect of other work
    first = deliveries(1)
    assert len(first) == 1
    with database.write() as session:
        faults = update(Pass).where(Pass.kind == PassKind.DELIVER).values(crashes=MAX_FAULTS - 1)
        session.execute(faults)
    assert deliveries(AT_ONCE) == []
    assert alone() is not None
    assert alone() is None  # the webhook has two at once already
    with database.write() as session:
        assert release(session, first[0])
    assert alone() is not None


@dataclass
class Simulated:
    """A worker as ``workers.isolation`` makes it: it holds passes, or waits to be empty for a suspect."""

    name: str
    held: list[Claim] = field(default_factory=list)
    waits_for: Reserved | None = None
    is_alone: bool = False


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_order_only_poison_is_set_aside_and_no_suspect_starves(
    database: Database, seed: int
) -> None:
    """Three workers, poison among their passes, deaths that nobody is to blame for, and new work again and again."""
    dice = random.Random(seed)
    _, passes = chunks_of_a_job(database, 16)
    poison = set(dice.sample(passes, 2))
    workers = [Simulated(f"w{number}") for number in range(3)]
    innocent_deaths, arrivals, steps = 2, 6, 0
    while count(database, Pass, Pass.kind == UNDERSTAND, Pass.state.in_((PassState.READY, PassState.LEASED))):
        steps += 1
        assert steps < 600, "somebody starves"
        worker = dice.choice(workers)
        if worker.held and dice.random() < 0.6:
            dies = any(one.pass_id in poison for one in worker.held) and dice.random() < 0.7
            if not dies and innocent_deaths and not worker.is_alone and dice.random() < 0.1:
                dies, innocent_deaths = True, innocent_deaths - 1
            if dies:
                crash(database, worker.held)
                workers[workers.index(worker)] = Simulated(worker.name)
            elif harmless := [one for one in worker.held if one.pass_id not in poison]:
                done = dice.choice(harmless)
                understand(database, done)
                worker.held.remove(done)
            continue
        if worker.waits_for is not None:
            if not worker.held:
                alone = take_reserved(database, worker.waits_for, worker.name)
                worker.held = [alone] if alone else []
                worker.waits_for, worker.is_alone = None, bool(alone)
            continue
        if worker.is_alone and worker.held:
            continue
        worker.is_alone = False
        if dice.random() < 0.5:  # it is time to look for suspects
            worker.waits_for = reserve(database)
        elif len(worker.held) < 4:
            worker.held += take(database, 4 - len(worker.held), worker.name)
        if arrivals and dice.random() < 0.2:  # new work never ends the turn of suspects
            arrivals -= 1
            submit(database, uris=(f"s3://b/{arrivals}",), tenant="other")
            if found := claim_as_idle(database, PLAN):
                plan(database, found, facts(3))
    with database.read() as session:
        rows = session.execute(text("SELECT id, state, crashes FROM passes WHERE kind = 'understand'")).all()
    assert {str(row.id) for row in rows if row.state == PassState.FAILED} == poison
    assert max(row.crashes for row in rows if row.state == PassState.DONE) <= SUSPECT
