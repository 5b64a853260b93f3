"""Jobs that come at the same time are stored together, and none pays for another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from api import accepting
from api.accepting import Accepting, Asked
from api.admission import Admission
from api.app import create_app
from api.asking import new_requests
from api.idempotency import Once
from api.submissions import Submission
from db.submitting import NewJob
from db.tables import Event, IdempotencyKey, Job, JobRecording, Pass, Tenant, Webhook

ASKED = {"sources": ["s3://archive/1", "s3://archive/2"], "tasks": ["caption"]}


class Door:
    """Stands in front of ``submit_jobs``: the first batch waits until so many others queue behind it."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self._inside, self._go = threading.Event(), threading.Event()
        self._submit_jobs = accepting.submit_jobs

    def __call__(self, session, new):
        self.batches.append(len(new))
        if len(self.batches) == 1:
            self._inside.set()
            assert self._go.wait(30)
        return self._submit_jobs(session, new)

    def ask(self, client: TestClient, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Send a first job, then the others while it is being stored; return the answers to the others."""
        queue = client.app.state.services.accepting
        with ThreadPoolExecutor(len(bodies) + 1) as pool:
            first = pool.submit(client.post, "/v1/jobs", json=ASKED)
            assert self._inside.wait(30)
            sent = [pool.submit(client.post, "/v1/jobs", **body) for body in bodies]
            while len(queue._by_tenant["default"]._waiting) < len(bodies):
                threading.Event().wait(0.005)
            self._go.set()
            assert first.result(30).status_code == 202
            return [answer.result(30) for answer in sent]


@pytest.fixture
def door(monkeypatch) -> Door:
    door = Door()
    monkeypatch.setattr(accepting, "submit_jobs", door)
    return door


def count(database, table) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_jobs_that_come_meanwhile_share_a_transaction_and_each_gets_its_own_answer(
    client, database, door, doorbell
):
    answers = door.ask(client, [{"json": {**ASKED, "tracking": f"job-{number}"}} for number in range(8)])

    assert door.batches == [1, 8]
    assert [answer.status_code for answer in answers] == [202] * 8
    assert [answer.json()["tracking"] for answer in answers] == [f"job-{number}" for number in range(8)]
    assert {answer.headers["location"] for answer in answers} == {
        f"/v1/jobs/{answer.json()['id']}" for answer in answers
    }
    assert (count(database, Job), count(database, JobRecording), count(database, Pass)) == (9, 18, 18)
    assert count(database, Event) == 9
    assert sum(rung for kind, _, rung in doorbell.rings if kind == "plan") == 18
    shown = client.get(f"/v1/jobs/{answers[3].json()['id']}").json()
    stored = {**answers[3].json(), "webhook": None}
    stored.pop("webhook")
    assert shown == stored


def test_a_batch_asks_once_who_serves_its_models(client, door, monkeypatch):
    asked = []
    monkeypatch.setattr("api.served.list_served", lambda session: asked.append(session) or [])
    answers = door.ask(client, [{"json": ASKED}] * 5)
    assert len(asked) == 2
    assert [len(answer.json()["warnings"]) for answer in answers] == [1] * 5


def test_one_that_is_refused_takes_nobody_with_it(settings, database, door):
    unknown = "0198f0a1-7c5e-7000-8000-000000000001"
    wrong = {
        "task": "ask",
        "options": {"question": "Which is louder?", "form": "free", "references": [unknown]},
    }
    bodies = [{"json": ASKED}, {"json": {**ASKED, "tasks": [wrong]}}, {"json": ASKED}]
    with TestClient(create_app(settings.model_copy(update={"chat_model": "chat"}))) as client:
        answers = door.ask(client, bodies)

    assert [answer.status_code for answer in answers] == [202, 422, 202]
    assert answers[1].json()["errors"][0]["field"] == "tasks[0].options.references"
    assert door.batches == [1, 1, 1]
    assert count(database, Job) == 3


def test_jobs_of_one_batch_do_not_pass_the_limit_together(settings, database, door):
    limits = {"max_queued": 8, "max_queued_total": 100}
    with TestClient(create_app(settings.model_copy(update=limits))) as client:
        answers = door.ask(client, [{"json": ASKED}] * 6)
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 3
    assert count(database, JobRecording) == 8


def test_jobs_far_from_a_limit_of_the_tenant_count_towards_it_while_they_wait(settings, database, door):
    """The count is older than the batch: what came in with it has to be added."""
    with database.write() as session:
        session.execute(update(Tenant).values(max_queued=20))
    with TestClient(create_app(settings)) as client:
        answers = door.ask(client, [{"json": ASKED}] * 10)
    assert [answer.status_code for answer in answers].count(202) == 9
    assert count(database, JobRecording) == 20


def test_keys_are_answered_within_a_batch(client, database, door):
    key = {"Idempotency-Key": "first"}
    once = client.post  # the first answer is stored before the batch, so that the batch holds a repetition
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accepting, "submit_jobs", door._submit_jobs)
        known = once("/v1/jobs", json=ASKED, headers=key).json()["id"]
    answers = door.ask(
        client,
        [
            {"json": ASKED, "headers": key},
            {"json": ASKED, "headers": {"Idempotency-Key": "second"}},
            {"json": ASKED},
        ],
    )
    assert [answer.status_code for answer in answers] == [202] * 3
    assert answers[0].json()["id"] == known
    assert answers[0].headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in answers[1].headers
    assert door.batches == [1, 2]
    assert (count(database, Job), count(database, IdempotencyKey)) == (4, 2)


def test_a_large_job_goes_alone(client, door):
    large = {**ASKED, "sources": [f"s3://archive/{number}" for number in range(accepting.LARGE + 1)]}
    queue = client.app.state.services.accepting
    door._go.set()
    assert client.post("/v1/jobs", json=large).status_code == 202
    assert queue._by_tenant == {}


def batch_naming(services, urls: Sequence[str]) -> list[Asked]:
    """Return a submission for each webhook URL, as a process holds them when it stores them together."""
    asked = []
    for url in urls:
        submission = Submission.model_validate({**ASKED, "webhook": url})
        new = NewJob("default", ["s3://archive/1"], new_requests(submission.tasks, services.settings), "mix")
        asked.append(Asked(new, submission, Once(services, "default", None, "")))
    return asked


def test_on_postgresql_two_batches_that_name_the_same_webhooks_in_opposite_orders_are_both_stored(
    client, postgres_database, monkeypatch
):
    """Each process holds its first new webhook before either goes on, unless one already waits for the other."""
    both_hold_one, webhook_of_job = threading.Barrier(2), accepting.webhook_of_job

    def meet(*given):
        found = webhook_of_job(*given)
        with suppress(threading.BrokenBarrierError):
            both_hold_one.wait(1.0)
        return found

    monkeypatch.setattr(accepting, "webhook_of_job", meet)
    wired = replace(client.app.state.services, database=postgres_database)
    urls = [f"https://example.com/{name}" for name in "abc"]
    with ThreadPoolExecutor(2) as pool:
        stored = []
        for order in (urls, urls[::-1]):
            process = replace(wired, admission=Admission(), accepting=Accepting())
            stored.append(pool.submit(accepting._store, process, "default", batch_naming(process, order)))
        answers = [one.result(30) for one in stored]

    assert [answer.status_code for batch in answers for answer in batch] == [202] * 6
    assert (count(postgres_database, Job), count(postgres_database, Webhook)) == (6, 3)


def test_a_batch_takes_its_turn_near_a_limit_before_it_takes_a_webhook(client, monkeypatch):
    """Or it holds a webhook's row while it waits for one that holds the turn and waits for the row."""
    taken: list[str] = []
    admit, webhook_of_job = Admission.admit, accepting.webhook_of_job
    monkeypatch.setattr(Admission, "admit", lambda *a, **k: (taken.append("turn"), admit(*a, **k)))
    monkeypatch.setattr(
        accepting, "webhook_of_job", lambda *a: (taken.append("webhook"), webhook_of_job(*a))[1]
    )
    services = client.app.state.services
    accepting._store(services, "default", batch_naming(services, ["https://example.com/a"] * 2))
    assert taken == ["turn", "turn", "webhook", "webhook"]


def test_the_first_of_a_batch_that_names_a_webhook_gets_its_secret(client, door):
    bodies = [{"json": {**ASKED, "webhook": f"https://example.com/{name}"}} for name in "babc"]
    answers = door.ask(client, bodies)
    assert door.batches == [1, 4]
    named = [answer.json()["webhook"] for answer in answers]
    assert [webhook["url"][-1] for webhook in named] == list("babc")
    with_secret = [webhook for webhook in named if webhook["secret"]]
    assert sorted(webhook["url"][-1] for webhook in with_secret) == list("abc")
