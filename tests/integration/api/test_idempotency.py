"""A request with an idempotency key happens once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from api import accepting
from api.app import create_app
from db.idempotency import FirstAnswer, KeyInFlight, find_answer, keep_answer
from db.tables import IdempotencyKey, Job

ASKED = {"sources": ["s3://archive/tape.flac"], "tasks": ["caption"], "metadata": {"a": 1, "b": 2}}
KEY = {"Idempotency-Key": "order-17"}


def count(database, table) -> int:
    with database.read() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_the_first_answer_is_given_again_and_nothing_happens_twice(client, database, doorbell):
    first = client.post("/v1/jobs", json=ASKED, headers=KEY)
    again = client.post("/v1/jobs", json=ASKED, headers=KEY)

    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert (first.headers.get("idempotent-replayed"), again.headers["idempotent-replayed"]) == (None, "true")
    assert count(database, Job) == 1
    assert len(doorbell.rings) == 1


def test_the_order_of_fields_does_not_make_another_request(client, database):
    client.post("/v1/jobs", json=ASKED, headers=KEY)
    turned = {**dict(reversed(ASKED.items())), "metadata": {"b": 2, "a": 1}}

    assert client.post("/v1/jobs", json=turned, headers=KEY).headers["idempotent-replayed"] == "true"
    assert count(database, Job) == 1


def test_the_same_key_with_another_request_is_refused(client, database):
    client.post("/v1/jobs", json=ASKED, headers=KEY)
    answer = client.post("/v1/jobs", json={**ASKED, "priority": 1}, headers=KEY)

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert count(database, Job) == 1


def test_a_refused_request_stores_nothing_and_its_key_can_be_used(client, database):
    assert client.post("/v1/jobs", json={**ASKED, "tasks": ["nonsense"]}, headers=KEY).status_code == 422
    assert count(database, IdempotencyKey) == 0
    assert client.post("/v1/jobs", json=ASKED, headers=KEY).status_code == 202


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_no_key_is_refused(client, key):
    answer = client.post("/v1/jobs", json=ASKED, headers={"Idempotency-Key": key})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


def test_the_longest_key_is_taken(client):
    assert client.post("/v1/jobs", json=ASKED, headers={"Idempotency-Key": "x" * 255}).status_code == 202


def test_a_crash_before_the_commit_keeps_neither_the_job_nor_the_key(client, database, monkeypatch):
    def fail(*_):
        raise RuntimeError("the process dies here")

    monkeypatch.setattr("api.idempotency.keep_answer", fail)
    assert client.post("/v1/jobs", json=ASKED, headers=KEY).status_code == 500
    assert (count(database, Job), count(database, IdempotencyKey)) == (0, 0)
    monkeypatch.undo()
    assert client.post("/v1/jobs", json=ASKED, headers=KEY).status_code == 202
    assert (count(database, Job), count(database, IdempotencyKey)) == (1, 1)


def test_a_twin_that_comes_meanwhile_is_told_to_wait(client, database, monkeypatch):
    inside, go = threading.Event(), threading.Event()
    submit_jobs = accepting.submit_jobs

    def slow(session, new):
        inside.set()
        assert go.wait(30)
        return submit_jobs(session, new)

    monkeypatch.setattr(accepting, "submit_jobs", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, "/v1/jobs", json=ASKED, headers=KEY)
        assert inside.wait(30)
        twin = client.post("/v1/jobs", json=ASKED, headers=KEY)
        go.set()
        assert first.result().status_code == 202
    assert (twin.status_code, twin.json()["code"]) == (409, "idempotency_key_in_flight")
    assert twin.headers["retry-after"] == "1"
    assert count(database, Job) == 1
    assert client.post("/v1/jobs", json=ASKED, headers=KEY).status_code == 202
    assert count(database, Job) == 1


def test_an_answer_is_kept_for_a_day(client, database):
    client.post("/v1/jobs", json=ASKED, headers=KEY)
    with database.write() as session:
        old = func.datetime(IdempotencyKey.created_at, "-25 hours")
        session.execute(update(IdempotencyKey).values(created_at=old))
    assert "idempotent-replayed" not in client.post("/v1/jobs", json=ASKED, headers=KEY).headers
    assert count(database, Job) == 2


def test_a_key_is_of_its_tenant(settings, database):
    from db.keys import create_key
    from settings.key_secret import load_key_secret

    with database.write() as session:
        keys = [
            create_key(session, tenant, "", load_key_secret(settings)).text for tenant in ("alpha", "beta")
        ]
    with TestClient(create_app(settings, keys_required=True)) as client:
        answers = [
            client.post("/v1/jobs", json=ASKED, headers={**KEY, "Authorization": f"Bearer {key}"})
            for key in keys
        ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] != answers[1].json()["id"]


def test_an_upload_takes_no_key(client):
    answer = client.post("/v1/uploads", files={"file": ("a.wav", b"RIFF")}, headers=KEY)
    assert answer.status_code == 422


def test_on_postgresql_a_twin_in_another_process_is_told_to_wait(postgres_database):
    with postgres_database.write() as first, postgres_database.write() as twin:
        assert find_answer(first, "default", "k", "digest") is None
        keep_answer(first, "default", "k", "digest", FirstAnswer(202, {"id": 1}, None))
        with pytest.raises(KeyInFlight):
            find_answer(twin, "default", "k", "digest")
    with postgres_database.write() as later:
        assert find_answer(later, "default", "k", "digest") == FirstAnswer(202, {"id": 1}, None)
