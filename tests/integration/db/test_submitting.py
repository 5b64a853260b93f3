"""Many jobs are stored by as many statements as one, and lie in the queue as if they had come one by one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import event, select
from support.jobs import request, submit

from db.database import Database
from db.fairness import LOOK_AHEAD
from db.keys import create_key, set_tenant
from db.states import PassKind
from db.submitting import NewJob, submit_job, submit_jobs
from db.tables import Event, Job, JobRequest, Pass, Request, WebhookDelivery
from db.webhooks import NewWebhook, add_webhook


def jobs(sizes: Sequence[int], priority: int = 0) -> list[NewJob]:
    return [
        NewJob(
            "a",
            [f"s3://b/{number}/{place}" for place in range(size)],
            [request("caption"), request("transcribe")],
            "mix",
            priority=priority,
        )
        for number, size in enumerate(sizes)
    ]


def due(database: Database) -> list[float]:
    with database.read() as session:
        return list(session.scalars(select(Pass.virtual_time).where(Pass.tenant == "a").order_by(Pass.id)))


@pytest.mark.parametrize(
    ("sizes", "before"),
    [
        ((1,) * 12, 0),
        ((1,) * 12, 3),
        ((3, 1, 2), 0),
        ((3, 1, 2), 3),
        ((5,), 3),
        (
            (1,) * (LOOK_AHEAD + 8),
            0,
        ),  # behind several passes of a job the query sees fewer jobs than there are
    ],
)
def test_they_are_due_as_if_they_had_come_one_by_one(sqlite_database, tmp_path, sqlite_file, sizes, before):
    alone = Database(f"sqlite:///{tmp_path / 'alone.db'}")
    (tmp_path / "alone.db").write_bytes(sqlite_file.read_bytes())
    for database in (alone, sqlite_database):
        with database.write() as session:
            create_key(session, "a", "", b"secret")
            set_tenant(session, "a", weight=2.0, max_queued=None)
        for number in range(before):
            submit(database, tenant="ab"[number % 2], uris=("s3://c/1", "s3://c/2"))
    for new in jobs(sizes):
        with alone.write() as session:
            submit_job(session, new)
    with sqlite_database.write() as session:
        submit_jobs(session, jobs(sizes))

    assert due(sqlite_database) == pytest.approx(due(alone))
    alone.close()


def test_queues_of_one_call_are_apart(database):
    with database.write() as session:
        submit_jobs(session, [*jobs([1, 1]), *jobs([1], priority=5)])
    assert due(database)[2] == due(database)[0]


def test_twenty_jobs_are_as_many_statements_as_one(database):
    said: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *given: said.append(given[2]))
    counts = []
    for sizes in ((1,), (1,), (1,) * 20):  # the first stores the requests
        said.clear()
        with database.write() as session:
            submit_jobs(session, jobs(sizes))
        counts.append(len(said))
    assert counts[2] == counts[1] <= 8


def test_each_job_has_what_it_asked_in_its_order(database):
    new = jobs([1, 1])
    turned = NewJob("a", ["s3://b/1"], [request("scene"), *reversed(new[0].requests)], "mix")
    with database.write() as session:
        stored = submit_jobs(session, [*new, turned])
    assert [[one.task for one in job.requests] for job in stored] == [
        ["caption", "transcribe"],
        ["caption", "transcribe"],
        ["scene", "transcribe", "caption"],
    ]
    with database.read() as session:
        for job in stored:
            rows = session.scalars(
                select(Request.task)
                .join(JobRequest, JobRequest.request_id == Request.id)
                .where(JobRequest.job_id == job.job.id)
                .order_by(JobRequest.position)
            )
            assert list(rows) == [one.task for one in job.requests]
        assert all(job.created_at is not None for job in session.scalars(select(Job)))
        assert session.scalars(select(Event.job_id)).all() == [job.job.id for job in stored]


def test_a_webhook_is_told_of_each_job_that_it_wants_to_know_of(database):
    with database.write() as session:
        everything = add_webhook(session, NewWebhook("a", "https://a.example/all", "s", ["job.accepted"]))
        one = add_webhook(session, NewWebhook("a", "https://a.example/one", "s", ["job.accepted"], False))
        add_webhook(session, NewWebhook("a", "https://a.example/ends", "s", ["job.failed"]))
        add_webhook(session, NewWebhook("b", "https://b.example/", "s", ["job.accepted"]))
        first, second = jobs([1, 1])
        stored = submit_jobs(
            session, [first, NewJob("a", second.uris, second.requests, "mix", webhook_id=one.id)]
        )
    ids = [job.job.id for job in stored]
    with database.read() as session:
        told = session.execute(select(WebhookDelivery.webhook_id, WebhookDelivery.job_id)).all()
        assert sorted(map(tuple, told)) == sorted(
            [(everything.id, ids[0]), (everything.id, ids[1]), (one.id, ids[1])]
        )
        deliveries = session.scalars(select(Pass).where(Pass.kind == PassKind.DELIVER)).all()
        assert sorted(row.job_id for row in deliveries) == sorted([ids[0], ids[1], ids[1]])
        payloads = session.scalars(select(WebhookDelivery.payload)).all()
        assert {payload["type"] for payload in payloads} == {"job.accepted"}
        assert {payload["data"]["job"]["id"] for payload in payloads} == set(ids)
