"""Deliver to a real receiver: signed, once where all goes well, again with the same id where it does not."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from sqlalchemy import select
from support.jobs import submit
from support.receivers import Message, receiving
from support.servers import wait_until

from db.delivering import claim_deliveries
from db.events import record_event
from db.states import PassKind
from db.tables import Pass, Webhook, WebhookAttempt, WebhookDelivery
from db.webhooks import NewWebhook, add_webhook, rotate_secret
from webhooks.signing import new_secret
from workers.attempt import attempt
from workers.context import WorkerContext
from workers.deliver import deliver
from workers.leases import LeaseKeeper
from workers.runner import Lane, Runner


@pytest.fixture
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def private(context: WorkerContext) -> WorkerContext:
    """A context that may deliver to loopback and tries again at once."""
    allowed = {"webhook_allow_private": True, "webhook_retry_seconds": (0.0, 0.0, 0.0)}
    return dataclasses.replace(context, settings=context.settings.model_copy(update=allowed))


def tell(context: WorkerContext, url: str, secret: str = "whsec_b25l", count: int = 1) -> str:
    """Register a webhook, let jobs end and return its id."""
    job_id = submit(context.database)
    with context.database.write() as session:
        hook = add_webhook(session, NewWebhook("default", url, secret, ["job.succeeded"])).id
        for _ in range(count):
            record_event(session, "job.succeeded", tenant="default", job_id=job_id, actor="test")
    return hook


def work(context: WorkerContext, keeper: LeaseKeeper) -> int:
    """Deliver what is ready and return how many tries that were."""
    with context.database.write() as session:
        claims = claim_deliveries(session, PassKind.DELIVER, "w1", lease_seconds=5.0, limit=8)
    for claim in claims:
        attempt(context, keeper, claim, deliver)
    return len(claims)


def rows(context: WorkerContext, table):
    with context.database.read() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def verified(secret: str, message: Message) -> bool:
    key = base64.b64decode(secret[len("whsec_") :])
    signed = (
        f"{message.headers['webhook-id']}.{message.headers['webhook-timestamp']}.".encode() + message.body
    )
    good = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return good in message.headers["webhook-signature"].split(" ")


def test_a_message_arrives_signed_and_is_logged(private, keeper, receiver):
    secret = new_secret()
    tell(private, receiver.url, secret)
    assert (work(private, keeper), work(private, keeper)) == (1, 0)
    (message,) = receiver.messages
    (delivery,), (one,) = rows(private, WebhookDelivery), rows(private, WebhookAttempt)
    assert verified(secret, message)
    assert message.headers["webhook-id"] == delivery.event_id
    assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < 60
    assert message.headers["content-type"] == "application/json"
    assert json.loads(message.body) == delivery.payload
    assert (delivery.state, one.status_code, one.error_code) == ("delivered", 204, None)


def test_while_a_secret_rotates_both_verify(private, keeper, receiver):
    old, new = new_secret(), new_secret()
    hook = tell(private, receiver.url, old)
    with private.database.write() as session:
        rotate_secret(session, "default", hook, new)
    work(private, keeper)
    assert verified(old, receiver.messages[0])
    assert verified(new, receiver.messages[0])
    assert not verified(new_secret(), receiver.messages[0])


def test_a_receiver_that_is_down_gets_the_same_message_later(private, keeper, receiver):
    answers = iter([503, 500])
    receiver.answer = lambda message: (next(answers, 200), {}, b"")
    tell(private, receiver.url)
    assert [work(private, keeper) for _ in range(4)] == [1, 1, 1, 0]
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    assert len({message.body for message in receiver.messages}) == 1
    assert [one.status_code for one in rows(private, WebhookAttempt)] == [503, 500, 200]


def test_a_try_that_failed_is_no_delivery_in_the_worker_s_rate(private, receiver):
    answers = iter([503])
    receiver.answer = lambda message: (next(answers, 200), {}, b"")
    tell(private, receiver.url)
    lane = Lane(PassKind.DELIVER, 1, deliver, claim=claim_deliveries)
    runner = Runner(private, [lane], poll_seconds=0.05)
    while not receiver.messages:
        runner.work_one(PassKind.DELIVER)
    assert runner.numbers() == {"failed_deliver": 1}
    while len(receiver.messages) < 2:
        runner.work_one(PassKind.DELIVER)
    assert runner.numbers().keys() == {"failed_deliver", "done_deliver", "rate_deliver"}
    runner.stop(1.0)


def test_a_receiver_that_stays_down_is_given_up(private, keeper, receiver):
    receiver.answer = lambda message: (500, {}, b"")
    tell(private, receiver.url)
    assert sum(work(private, keeper) for _ in range(6)) == 4
    (delivery,), (hook,) = rows(private, WebhookDelivery), rows(private, Webhook)
    assert (delivery.state, delivery.attempts) == ("failed", 4)
    assert hook.failing_since is not None


def test_a_receiver_that_is_gone_is_not_asked_again(private, keeper, receiver):
    receiver.answer = lambda message: (410, {}, b"")
    tell(private, receiver.url, count=4)
    while work(private, keeper):
        pass
    assert len(receiver.messages) <= 2  # both of the first claim were under way
    assert rows(private, Webhook)[0].disabled_at is not None
    assert {one.state for one in rows(private, WebhookDelivery)} == {"failed"}


def test_a_private_address_gets_no_connection_unless_that_is_allowed(context, keeper, receiver):
    tell(context, receiver.url)  # as if it had been registered while that was allowed
    work(context, keeper)
    assert receiver.messages == []
    (one,) = rows(context, WebhookAttempt)
    assert (one.error_code, one.status_code) == ("webhook_invalid_url", None)


def test_a_slow_receiver_holds_two_places_and_keeps_nobody_waiting(private, receiver):
    release = threading.Event()
    with receiving() as slow:
        slow.answer = lambda message: ((release.wait(20) and 200) or 500, {}, b"")
        tell(private, slow.url, count=10)
        runner = Runner(
            private, [Lane(PassKind.DELIVER, 8, deliver, claim=claim_deliveries)], poll_seconds=0.05
        )
        runner.start()
        try:
            wait_until(lambda: len(slow.messages) == 2, 20, "the slow one has its two")
            tell(private, receiver.url, count=6)
            wait_until(lambda: len(receiver.messages) == 12 - 6, 20, "the quick one has all of its own")
            assert len(slow.messages) == 2
        finally:
            release.set()
            wait_until(lambda: len(slow.messages) >= 10, 20, "the slow one has all")
            runner.stop(5.0)


def test_a_worker_killed_in_mid_delivery_leads_to_the_same_message_again(private, receiver):
    """The receiver has the message and the worker dies before it can say so: another sends it again."""
    arrived = threading.Event()

    def answer(message: Message):
        if not arrived.is_set():
            arrived.set()
            time.sleep(3)
        return 200, {}, b""

    receiver.answer = answer
    environment = {
        **os.environ,
        "EARWITNESS_DATA_DIR": str(private.settings.data_dir),
        "EARWITNESS_DATABASE_URL": str(private.database.url),
        "EARWITNESS_WEBHOOK_ALLOW_PRIVATE": "true",
        "EARWITNESS_LEASE_SECONDS": "1",
        "EARWITNESS_POLL_SECONDS": "0.05",
    }
    tell(private, receiver.url)
    workers = [subprocess.Popen([sys.executable, "-m", "workers.cpu"], env=environment)]
    try:
        assert arrived.wait(60)
        workers[0].send_signal(signal.SIGKILL)
        workers[0].wait()
        workers.append(subprocess.Popen([sys.executable, "-m", "workers.cpu"], env=environment))
        wait_until(lambda: rows(private, WebhookDelivery)[0].state == "delivered", 60, "it is delivered")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert len(receiver.messages) == 2
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    assert [one.status_code for one in rows(private, WebhookAttempt)] == [200]
    (deliver_pass,) = [one for one in rows(private, Pass) if one.kind == "deliver"]
    assert (deliver_pass.state, deliver_pass.crashes) == ("done", 1)
