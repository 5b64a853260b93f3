"""One test for each guard that ``make mutants`` takes away: they have to turn red without it."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update
from support.jobs import claim, facts, plan, results, submit

from db import queries
from db.claims import JobCancelled, LeaseLost
from db.clock import database_now
from db.database import Database
from db.failures import return_expired
from db.states import JobState, PassKind
from db.tables import Job, Pass, Result
from db.understanding import complete_understand


def test_a_late_completion_does_not_count(database: Database) -> None:
    submit(database)
    first = claim(database, PassKind.PLAN)
    assert first is not None
    plan(database, first, facts(1))
    late = claim(database, PassKind.UNDERSTAND, worker="late")
    assert late is not None
    with database.write() as session:
        session.execute(update(Pass).where(Pass.id == late.pass_id).values(lease_until=database_now(-1)))
    with database.write() as session:
        return_expired(session, late)
    new = claim(database, PassKind.UNDERSTAND, worker="new")
    assert new is not None
    assert new.epoch == late.epoch + 1
    with pytest.raises(LeaseLost), database.write() as session:
        complete_understand(session, late, results(late))
    with database.write() as session:
        complete_understand(session, new, results(new))
    with database.read() as session:
        assert session.scalars(select(Result.epoch)).all() == [new.epoch]


def test_a_cancelled_job_takes_no_result(database: Database) -> None:
    job_id = submit(database)
    first = claim(database, PassKind.PLAN)
    assert first is not None
    plan(database, first, facts(1))
    found = claim(database, PassKind.UNDERSTAND)
    assert found is not None
    with database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(state=JobState.CANCELLED))
    with pytest.raises(JobCancelled), database.write() as session:
        complete_understand(session, found, results(found))
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(Result)) == 0


def test_a_job_of_another_tenant_is_not_there(database: Database) -> None:
    job_id = submit(database, tenant="theirs")
    with database.read() as session:
        assert queries.get_job(session, "theirs", job_id).id == job_id
        with pytest.raises(queries.NotFound):
            queries.get_job(session, "mine", job_id)
