"""Too much waiting work is refused with what to do."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from api.admission import Admission, TooManyQueued
from api.app import create_app
from db.database import Database
from db.submitting import NewJob, NewRequest, submit_job
from db.tables import Job, Tenant
from db.waiting import count_waiting

ASKED = {"sources": ["s3://archive/1", "s3://archive/2"], "tasks": ["caption"]}


@pytest.fixture
def small(settings):
    limits = {"max_queued": 5, "max_queued_total": 8}
    with TestClient(create_app(settings.model_copy(update=limits))) as client:
        yield client


def test_a_tenant_over_its_limit_is_told_when_to_come_back(small, database):
    assert [small.post("/v1/jobs", json=ASKED).status_code for _ in range(2)] == [202, 202]
    answer = small.post("/v1/jobs", json=ASKED)

    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_queued")
    assert int(answer.headers["retry-after"]) > 0
    assert "4 recordings of yours are waiting, and 5 may" in answer.json()["detail"]
    assert small.post("/v1/jobs", json={**ASKED, "sources": ["s3://archive/1"]}).status_code == 202
    with database.write() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 3
        session.execute(update(Job).values(recordings_done=Job.recordings_total, state="succeeded"))
    assert small.post("/v1/jobs", json=ASKED).status_code == 202


def test_a_tenant_has_a_limit_of_its_own(small, database):
    with database.write() as session:
        session.execute(update(Tenant).values(max_queued=2))
    assert small.post("/v1/jobs", json=ASKED).status_code == 202
    assert small.post("/v1/jobs", json=ASKED).status_code == 429


def test_a_job_that_could_never_come_in_is_wrong_and_not_early(small):
    answer = small.post("/v1/jobs", json={**ASKED, "sources": [f"s3://archive/{i}" for i in range(6)]})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "sources")


def new(tenant: str, recordings: int) -> NewJob:
    uris = [f"s3://b/{number}" for number in range(recordings)]
    return NewJob(tenant, uris, [NewRequest("k", "caption", {}, "mini", 1)], "mix")


def test_all_tenants_share_a_limit(database: Database):
    admission = Admission()
    for tenant in ("a", "b", "c", "d"):
        with database.write(tenant) as session:
            admission.admit(session, tenant, 2, own=5, total=9)
            submit_job(session, new(tenant, 2))
    with pytest.raises(TooManyQueued, match="of all tenants"), database.write("e") as session:
        admission.admit(session, "e", 2, own=5, total=9)
    with database.read("a") as session:
        assert count_waiting(session, "a").recordings == 2
        assert count_waiting(session, None).recordings == 8


def test_far_from_the_limit_nothing_is_counted_twice_a_second(database: Database, monkeypatch):
    counted = []
    monkeypatch.setattr(
        "api.admission.count_waiting", lambda *given: counted.append(given) or count_waiting(*given)
    )
    admission = Admission()
    for _ in range(5):
        with database.write() as session:
            admission.admit(session, "a", 1, own=100, total=100)
    assert len(counted) == 2
