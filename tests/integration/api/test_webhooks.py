"""Register webhooks over REST, name one in a job, read and repeat what was told."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from db.clock import database_now
from db.events import record_event
from db.states import PassKind
from db.tables import Webhook, WebhookAttempt, WebhookDelivery

URL = "https://example.com/hook"
NOBODY = "0198f0a1-7c5e-7000-8000-000000000001"


@pytest.fixture
def webhook(client) -> dict:
    answer = client.post("/v1/webhooks", json={"url": URL})
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/v1/webhooks/{answer.json()['id']}"
    return answer.json()


@pytest.fixture
def delivery(client, database, webhook, submitted) -> dict:
    with database.write() as session:
        record_event(session, "job.failed", tenant="default", job_id=submitted, actor="test")
    (shown,) = client.get(f"/v1/webhooks/{webhook['id']}/deliveries").json()["items"]
    return shown


def test_a_webhook_is_made_with_a_secret_that_is_shown_once(client, webhook):
    assert webhook["secret"].startswith("whsec_")
    assert webhook["events"] == ["job.succeeded", "job.partial", "job.failed", "job.cancelled"]
    assert (webhook["of_all_jobs"], webhook["failing_since"], webhook["disabled_at"]) == (True, None, None)
    shown = client.get(f"/v1/webhooks/{webhook['id']}").json()
    assert shown == {name: value for name, value in webhook.items() if name != "secret"}
    assert client.get("/v1/webhooks").json() == {"items": [shown], "next": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "http://example.com/"}, "url"),
        ({"url": "https://127.0.0.1/"}, "url"),
        ({"url": "https://me@example.com/"}, "url"),
        ({"url": "https://example.com:22/"}, "url"),
        ({"url": URL, "events": ["job.ended"]}, "events[0]"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "event": ["job.failed"]}, "event"),
        ({}, "url"),
    ],
)
def test_a_wrong_webhook_is_refused_by_field(client, body, field):
    answer = client.post("/v1/webhooks", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_a_url_is_registered_once(client, webhook):
    answer = client.post("/v1/webhooks", json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "webhook_exists")
    assert webhook["id"] in answer.json()["detail"]


def test_a_secret_rotates_with_two_alive(client, database, webhook):
    path = f"/v1/webhooks/{webhook['id']}"
    rotated = client.post(f"{path}/rotate").json()
    assert rotated["secret"] != webhook["secret"]
    assert rotated["two_secrets"]
    assert not client.delete(f"{path}/old-secret").json()["two_secrets"]
    with database.read() as session:
        row = session.scalars(select(Webhook)).one()
    assert (row.secret, row.old_secret) == (rotated["secret"], None)


def test_a_removed_webhook_is_gone(client, webhook, delivery):
    path = f"/v1/webhooks/{webhook['id']}"
    assert (client.delete(path).status_code, client.delete(path).status_code) == (204, 404)
    assert client.get(path).status_code == 404


def test_a_delivery_is_shown_with_its_message_and_tries(client, database, webhook, delivery, submitted):
    assert (delivery["kind"], delivery["state"], delivery["job_id"]) == ("job.failed", "pending", submitted)
    assert delivery["payload"]["data"]["job"]["id"] == submitted
    with database.write() as session:
        row = {"tenant": "default", "delivery_id": delivery["id"], "number": 1, "status_code": 500}
        session.add(WebhookAttempt(**row, error_code="webhook_status", error_message="500", duration_ms=3))
        session.execute(update(WebhookDelivery).values(state="failed"))
    path = f"/v1/webhooks/{webhook['id']}/deliveries"
    (shown,) = client.get(path, params={"state": "failed"}).json()["items"]
    assert shown["attempts"][0]["status_code"] == 500
    assert client.get(path, params={"state": "delivered"}).json()["items"] == []


def test_redelivery_rings(client, database, doorbell, webhook, delivery):
    with database.write() as session:
        session.execute(update(WebhookDelivery).values(state="delivered"))
    path = f"/v1/webhooks/{webhook['id']}/deliveries/{delivery['id']}/redeliver"
    answer = client.post(path)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert answer.json()["message_id"] == delivery["message_id"]
    assert doorbell.rings[-1][0] == PassKind.DELIVER


def test_a_disabled_webhook_says_so_and_can_be_enabled(client, database, webhook, delivery):
    path = f"/v1/webhooks/{webhook['id']}"
    with database.write() as session:
        session.execute(update(Webhook).values(disabled_at=database_now(), failing_since=database_now()))
    assert client.get(path).json()["disabled_at"] is not None
    answer = client.post(f"{path}/deliveries/{delivery['id']}/redeliver")
    assert (answer.status_code, answer.json()["code"]) == (409, "webhook_disabled")
    enabled = client.post(f"{path}/enable").json()
    assert (enabled["disabled_at"], enabled["failing_since"]) == (None, None)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/enable"),
        ("POST", "/rotate"),
        ("DELETE", "/old-secret"),
        ("GET", "/deliveries"),
        ("POST", f"/deliveries/{NOBODY}/redeliver"),
    ],
)
def test_a_webhook_that_is_not_there_is_404(client, method, path):
    assert client.request(method, f"/v1/webhooks/{NOBODY}{path}").status_code == 404


def test_a_job_names_a_webhook_and_the_first_gets_its_secret(client, database):
    def submit(url):
        body = {"sources": ["s3://archive/tape.flac"], "tasks": ["caption"], "webhook": url}
        return client.post("/v1/jobs", json=body)

    first, second = submit(URL).json(), submit(URL).json()
    assert first["webhook"]["secret"].startswith("whsec_")
    assert second["webhook"] == {**first["webhook"], "secret": None}
    assert first["webhook_id"] == first["webhook"]["id"]
    assert client.get(f"/v1/jobs/{first['id']}").json()["webhook_id"] == first["webhook_id"]
    assert not client.get(f"/v1/webhooks/{first['webhook_id']}").json()["of_all_jobs"]
    for url in ("http://example.com/", "https://10.0.0.1/", "nonsense"):
        answer = submit(url)
        assert [error["field"] for error in answer.json()["errors"]] == ["webhook"]
    with database.read() as session:
        assert len(session.scalars(select(Webhook)).all()) == 1


def test_a_job_without_a_webhook_has_none(client, submitted):
    assert client.get(f"/v1/jobs/{submitted}").json()["webhook_id"] is None
