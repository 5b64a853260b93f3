"""Deliveries are opened with their events, leased webhook by webhook, and end: on SQLite and PostgreSQL."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest
from sqlalchemy import event, func, select, text, update
from support.jobs import TENANT, claim, facts, plan, request, results, submit

from db.announcing import JOB_ENDS, TELLABLE, announced
from db.claims import Claim, Failure, LeaseLost, renew_leases
from db.clock import database_now
from db.database import Database
from db.delivering import (
    AT_ONCE,
    RetryRules,
    Try,
    claim_deliveries,
    complete_delivery,
    drop_delivery,
    load_delivery,
)
from db.events import record_event
from db.failures import fail_pass, return_expired
from db.finishing import complete_finish
from db.queries import NotFound
from db.setbacks import MAX_FAULTS, find_expired
from db.states import DeliveryState, JobState, PassKind, PassState
from db.suspects import claim_suspect, reserve_suspect
from db.tables import Event, Job, Pass, Webhook, WebhookAttempt, WebhookDelivery
from db.understanding import complete_understand
from db.webhooks import (
    NewWebhook,
    TooManyWebhooks,
    WebhookDisabled,
    WebhookExists,
    add_webhook,
    enable_webhook,
    end_rotation,
    list_deliveries,
    list_webhooks,
    redeliver,
    remove_webhook,
    rotate_secret,
    webhook_for_job,
)

RULES = RetryRules(pauses_seconds=(0.0, 60.0), disable_after_seconds=3_600.0)
OK = Try(12, 200)
DOWN = Try(15, 503, "webhook_status", "the receiver answered with status 503")


def webhook(database: Database, url: str = "https://a.example/", *events: str, **more: Any) -> str:
    with database.write() as session:
        new = NewWebhook(more.pop("tenant", TENANT), url, "whsec_b25l", events or JOB_ENDS, **more)
        row = add_webhook(session, new) if new.of_all_jobs else webhook_for_job(session, new)[0]
        return row.id


def happen(database: Database, job_id: str, kind: str = "job.succeeded", count: int = 1) -> None:
    with database.write() as session:
        for _ in range(count):
            record_event(session, kind, tenant=TENANT, job_id=job_id, actor="test")


def take(database: Database, limit: int = 1, worker: str = "w1", lease: float = 30.0) -> list[Claim]:
    with database.write() as session:
        found = claim_deliveries(session, PassKind.DELIVER, worker, lease_seconds=lease, limit=limit)
        if not found and (suspect := reserve_suspect(session, PassKind.DELIVER, seconds=lease)):
            alone = claim_suspect(session, suspect, worker, lease_seconds=lease)
            return [alone] if alone else []
        return found


def complete(database: Database, found: Claim, done: Try, rules: RetryRules = RULES) -> DeliveryState:
    with database.write() as session:
        return complete_delivery(session, found, done, rules)


def rows(database: Database, table: Any) -> list[Any]:
    with database.read() as session:
        return list(session.scalars(select(table).order_by(table.id)))


def only(database: Database, table: Any) -> Any:
    (row,) = rows(database, table)
    return row


def hear(database: Database) -> None:
    """Bring the one recording of a job to its end."""
    found = claim(database, PassKind.PLAN)
    assert found is not None
    plan(database, found, facts(1))
    heard = claim(database, PassKind.UNDERSTAND)
    assert heard is not None
    with database.write() as session:
        complete_understand(session, heard, results(heard))
    ended = claim(database, PassKind.FINISH)
    assert ended is not None
    with database.write() as session:
        complete_finish(session, ended, [])


def test_the_end_of_a_job_opens_one_delivery_with_what_the_client_said(database: Database) -> None:
    hook = webhook(database)
    job_id = submit(database, client_metadata={"collection": "tapes"})
    with database.write() as session:
        session.execute(update(Job).values(tracking="order-7"))
    hear(database)
    delivery, deliver = only(database, WebhookDelivery), rows(database, Pass)[-1]
    assert (delivery.webhook_id, delivery.kind, delivery.state) == (hook, "job.succeeded", "pending")
    assert (deliver.kind, deliver.state, deliver.model) == ("deliver", "ready", hook)
    assert (deliver.delivery_id, deliver.job_id) == (delivery.id, job_id)
    told = delivery.payload
    assert (told["type"], told["data"]["job"]["id"]) == ("job.succeeded", job_id)
    assert (told["data"]["job"]["state"], told["data"]["job"]["tracking"]) == ("succeeded", "order-7")
    assert told["data"]["job"]["metadata"] == {"collection": "tapes"}
    assert told["data"]["job"]["recordings"]["succeeded"] == 1
    assert told["data"]["job"]["finished_at"] is not None
    ended = next(one for one in rows(database, Event) if one.kind == "job.succeeded")
    assert (delivery.event_id, told["timestamp"]) == (ended.id, ended.at.isoformat())


def test_a_recording_is_told_of_only_where_that_is_asked_for(database: Database) -> None:
    webhook(database, "https://jobs.example/")
    asked = webhook(database, "https://all.example/", *TELLABLE)
    submit(database)
    hear(database)
    told = [(one.webhook_id == asked, one.kind) for one in rows(database, WebhookDelivery)]
    assert sorted(told) == [
        (False, "job.succeeded"),
        (True, "job.accepted"),
        (True, "job.succeeded"),
        (True, "recording.succeeded"),
    ]
    recording = next(o.payload for o in rows(database, WebhookDelivery) if o.kind == "recording.succeeded")
    assert recording["data"]["recording"]["uri"] == "s3://b/a.wav"
    assert recording["data"]["recording"]["state"] == "succeeded"


def test_a_delivery_vanishes_with_the_transaction_that_it_tells_of(database: Database) -> None:
    webhook(database)
    job_id = submit(database)
    with database.write() as session:
        record_event(session, "job.failed", tenant=TENANT, job_id=job_id, actor="test")
        assert announced(session) == 1
        session.rollback()
    assert rows(database, WebhookDelivery) == []
    assert [one.kind for one in rows(database, Pass)] == ["plan"]


def test_a_webhook_of_a_job_hears_of_no_other_and_no_tenant_of_another(database: Database) -> None:
    of_job = webhook(database, "https://job.example/", of_all_jobs=False)
    webhook(database, tenant="other")
    named, unnamed = submit(database, webhook_id=of_job), submit(database)
    happen(database, named)
    happen(database, unnamed)
    assert [one.job_id for one in rows(database, WebhookDelivery)] == [named]


def test_a_disabled_webhook_hears_nothing(database: Database) -> None:
    hook = webhook(database)
    with database.write() as session:
        session.execute(update(Webhook).values(disabled_at=database_now()))
    happen(database, submit(database))
    assert rows(database, WebhookDelivery) == []
    with database.write() as session:
        assert enable_webhook(session, TENANT, hook).disabled_at is None
    happen(database, submit(database))
    assert len(rows(database, WebhookDelivery)) == 1


def test_a_delivery_is_claimed_loaded_and_delivered_once(database: Database) -> None:
    hook = webhook(database)
    happen(database, submit(database))
    (found,) = take(database)
    with database.read() as session:
        work = load_delivery(session, found)
    assert (work.url, work.secrets, work.disabled) == ("https://a.example/", ["whsec_b25l"], False)
    assert complete(database, found, OK) == DeliveryState.DELIVERED
    delivery, one = only(database, WebhookDelivery), only(database, WebhookAttempt)
    assert (delivery.state, delivery.attempts) == ("delivered", 1)
    assert delivery.finished_at is not None
    assert (one.number, one.status_code, one.error_code, one.duration_ms) == (1, 200, None, 12)
    assert take(database) == []
    with pytest.raises(LeaseLost):
        complete(database, found, DOWN)
    assert only(database, WebhookDelivery).state == "delivered"
    assert hook


def test_a_failed_try_comes_again_under_the_same_message_id_until_it_is_given_up(database: Database) -> None:
    webhook(database)
    happen(database, submit(database))
    (first,) = take(database)
    assert complete(database, first, DOWN) == DeliveryState.PENDING
    assert only(database, Webhook).failing_since is not None
    (second,) = take(database)  # the first pause is none
    assert second.epoch == first.epoch + 1
    with database.read() as session:
        assert load_delivery(session, second).message_id == only(database, WebhookDelivery).event_id
    assert complete(database, second, DOWN) == DeliveryState.PENDING
    assert take(database) == []  # for a minute
    with database.write() as session:
        session.execute(update(Pass).values(not_before=database_now(-1)))
    (third,) = take(database)
    assert complete(database, third, DOWN) == DeliveryState.FAILED
    assert [one.number for one in rows(database, WebhookAttempt)] == [1, 2, 3]
    assert only(database, WebhookDelivery).state == "failed"
    sent = [(one.state, one.attempts, one.errors) for one in rows(database, Pass) if one.kind == "deliver"]
    assert sent == [("failed", 3, 3)]
    assert only(database, Webhook).disabled_at is None


def test_a_success_ends_the_failing(database: Database) -> None:
    webhook(database)
    happen(database, submit(database))
    complete(database, take(database)[0], DOWN)
    complete(database, take(database)[0], OK)
    assert only(database, Webhook).failing_since is None


@pytest.mark.parametrize("gone", [False, True])
def test_a_webhook_that_failed_for_too_long_or_is_gone_is_disabled_and_that_is_said(
    database: Database, gone: bool
) -> None:
    hook = webhook(database)
    job_id = submit(database)
    happen(database, job_id, count=2)
    one, other = take(database, 2)
    if gone:
        complete(database, one, Try(1, 410, "webhook_status", "gone", gone=True))
    else:
        with database.write() as session:
            session.execute(update(Webhook).values(failing_since=database_now(-RULES.disable_after_seconds)))
        complete(database, one, DOWN)
    assert only(database, Webhook).disabled_at is not None
    (said,) = [one for one in rows(database, Event) if one.kind == "webhook.disabled"]
    assert (said.job_id, said.data) == (job_id, {"webhook_id": hook, "gone": gone})
    with database.write() as session:
        assert load_delivery(session, other).disabled
        drop_delivery(session, other)
    assert "failed" in [one.state for one in rows(database, WebhookDelivery)]
    assert len(rows(database, WebhookAttempt)) == 1


def test_no_more_than_two_of_a_webhook_are_under_way_and_others_go_on(database: Database) -> None:
    slow, quick = webhook(database, "https://slow.example/"), webhook(database, "https://quick.example/")
    job_id = submit(database)
    happen(database, job_id, count=5)
    with database.write() as session:  # the quick one's come last
        session.execute(text("DELETE FROM passes WHERE model = :quick"), {"quick": quick})
        session.execute(text("DELETE FROM webhook_deliveries WHERE webhook_id = :quick"), {"quick": quick})
    assert [found.worker for found in take(database, 8)] == ["w1"] * AT_ONCE
    happen(database, job_id, "job.failed")
    (found,) = take(database, 8, worker="w2")
    with database.read() as session:
        assert load_delivery(session, found).url == "https://quick.example/"
    assert take(database, 8, worker="w3") == []
    assert slow


def test_claims_that_meet_stay_within_the_limit(database: Database) -> None:
    webhook(database)
    happen(database, submit(database), count=12)
    start, found = threading.Barrier(6), []

    def compete(name: str) -> None:
        start.wait()
        found.extend(take(database, 4, worker=name))

    threads = [threading.Thread(target=compete, args=(f"w{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(found) <= AT_ONCE
    assert len({one.pass_id for one in found}) == len(found)


def test_many_webhooks_are_all_served(database: Database) -> None:
    for number in range(20):
        webhook(database, f"https://{number}.example/")
    happen(database, submit(database), count=2)
    found = take(database, 100)
    with database.read() as session:
        urls = [load_delivery(session, one).url for one in found]
    assert len(urls) == 40
    assert {urls.count(url) for url in urls} == {2}


def test_many_webhooks_of_one_tenant_keep_no_other_waiting(database: Database) -> None:
    for number in range(40):
        webhook(database, f"https://{number}.example/", tenant="other")
    mine = webhook(database)
    jobs = {"other": submit(database, tenant="other"), TENANT: submit(database)}
    with database.write() as session:
        for tenant, job_id in jobs.items():
            record_event(session, "job.succeeded", tenant=tenant, job_id=job_id, actor="test")

    (first, second) = take(database, 2)

    with database.read() as session:
        asked = [session.get_one(Pass, one.pass_id).model for one in (first, second)]
    assert mine in asked


def test_a_cancelled_job_still_tells_its_end(database: Database) -> None:
    webhook(database)
    job_id = submit(database)
    with database.write() as session:
        session.execute(update(Job).values(state=JobState.CANCELLED))
    happen(database, job_id, "job.cancelled")
    (found,) = take(database)
    with database.write() as session:
        assert (
            fail_pass(session, found, Failure("internal_error", "oh", retryable=True), jitter=0)
            == PassState.READY
        )
    with database.write() as session:
        session.execute(update(Pass).values(not_before=None))
    assert complete(database, take(database)[0], OK) == DeliveryState.DELIVERED


def test_a_delivery_of_a_dead_worker_goes_again_and_its_late_word_does_not_count(database: Database) -> None:
    webhook(database)
    happen(database, submit(database))
    (dead,) = take(database, lease=0.0)
    with database.read() as session:
        (expired,) = find_expired(session)
    assert expired.kind == PassKind.DELIVER
    with database.write() as session:
        assert return_expired(session, expired, jitter=0.0) == PassState.READY
    with database.write() as session, pytest.raises(LeaseLost):
        return_expired(session, expired, jitter=0.0)
    with database.write() as session:
        session.execute(update(Pass).values(not_before=None))
    (again,) = take(database, worker="w2")
    assert again.delivery_id == dead.delivery_id
    with pytest.raises(LeaseLost):
        complete(database, dead, OK)
    with database.write() as session:
        assert renew_leases(session, [dead], 30.0) == [dead]
    assert complete(database, again, OK) == DeliveryState.DELIVERED
    assert len(rows(database, WebhookAttempt)) == 1


def test_a_renewed_lease_is_not_taken(database: Database) -> None:
    webhook(database)
    happen(database, submit(database))
    (found,) = take(database)
    with database.write() as session, pytest.raises(LeaseLost):
        return_expired(session, found)
    assert complete(database, found, OK) == DeliveryState.DELIVERED


def test_a_delivery_that_fails_for_our_fault_ends_some_day(database: Database) -> None:
    webhook(database)
    happen(database, submit(database))
    for fault in range(MAX_FAULTS):
        (found,) = take(database)
        with database.write() as session:
            state = fail_pass(session, found, Failure("internal_error", "oh", retryable=True), jitter=0.0)
        assert state == (PassState.FAILED if fault + 1 == MAX_FAULTS else PassState.READY)
        with database.write() as session:
            session.execute(update(Pass).where(Pass.state == "ready").values(not_before=None))
    assert only(database, WebhookDelivery).state == "failed"
    assert [one.crashes for one in rows(database, Pass) if one.kind == "deliver"] == [MAX_FAULTS]


def test_a_delivery_can_be_sent_again(database: Database) -> None:
    hook = webhook(database)
    happen(database, submit(database))
    complete(database, take(database)[0], OK)
    delivery = only(database, WebhookDelivery)
    with database.write() as session:
        assert redeliver(session, TENANT, hook, delivery.id).state == "pending"
    with database.write() as session:  # it waits already: no second pass
        redeliver(session, TENANT, hook, delivery.id)
    (again,) = take(database, 5)
    assert again.delivery_id == delivery.id
    complete(database, again, OK)
    with database.read() as session:
        ((shown, tries),) = list_deliveries(session, TENANT, hook)
        assert list_deliveries(session, TENANT, hook, state="failed") == []
        assert list_deliveries(session, TENANT, hook, after=shown.id) == []
    assert (shown.state, [one.number for one in tries]) == ("delivered", [1, 2])


def test_a_delivery_that_waits_is_hastened(database: Database) -> None:
    hook = webhook(database)
    happen(database, submit(database))
    complete(database, take(database)[0], DOWN, RetryRules((3_600.0,), 1.0))
    assert take(database) == []
    with database.write() as session:
        redeliver(session, TENANT, hook, only(database, WebhookDelivery).id)
    assert len(take(database)) == 1


def test_nothing_is_sent_again_for_others_or_to_a_disabled_webhook(database: Database) -> None:
    hook = webhook(database)
    happen(database, submit(database))
    delivery = only(database, WebhookDelivery)
    for tenant, webhook_id, delivery_id in (
        ("other", hook, delivery.id),
        (TENANT, delivery.id, delivery.id),
        (TENANT, hook, hook),
    ):
        with database.write() as session, pytest.raises(NotFound):
            redeliver(session, tenant, webhook_id, delivery_id)
    with database.write() as session:
        session.execute(update(Webhook).values(disabled_at=database_now()))
    with database.write() as session, pytest.raises(WebhookDisabled):
        redeliver(session, TENANT, hook, delivery.id)


def test_a_removed_webhook_takes_its_log_with_it_and_nothing_else(database: Database) -> None:
    hook, other = webhook(database), webhook(database, "https://b.example/")
    happen(database, submit(database, webhook_id=hook), count=3)
    one, two = take(database, 2)[:2]
    complete(database, one, OK)
    with pytest.raises(NotFound):
        remove_webhook(database, "other", hook)
    remove_webhook(database, TENANT, hook)
    assert [row.id for row in rows(database, Webhook)] == [other]
    assert {row.webhook_id for row in rows(database, WebhookDelivery)} == {other}
    assert only(database, Job).webhook_id is None
    assert all(one.model == other for one in rows(database, Pass) if one.kind == "deliver")
    for found in (one, two):
        if found.delivery_id not in {row.id for row in rows(database, WebhookDelivery)}:
            with pytest.raises(LeaseLost):
                complete(database, found, OK)
            with database.read() as session, pytest.raises(LeaseLost):
                load_delivery(session, found)


def test_secrets_rotate_with_two_alive(database: Database) -> None:
    hook = webhook(database)
    happen(database, submit(database))
    with database.write() as session:
        rotate_secret(session, TENANT, hook, "whsec_dHdv")
    (found,) = take(database)
    with database.read() as session:
        assert load_delivery(session, found).secrets == ["whsec_dHdv", "whsec_b25l"]
    with database.write() as session:
        end_rotation(session, TENANT, hook)
    with database.read() as session:
        assert load_delivery(session, found).secrets == ["whsec_dHdv"]
    for change in (lambda s: rotate_secret(s, "other", hook, "x"), lambda s: end_rotation(s, "other", hook)):
        with database.write() as session, pytest.raises(NotFound):
            change(session)
    assert only(database, Webhook).secret == "whsec_dHdv"


def test_a_url_is_registered_once_and_a_job_finds_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = webhook(database)
    with database.write() as session, pytest.raises(WebhookExists, match=hook):
        add_webhook(session, NewWebhook(TENANT, "https://a.example/", "s", JOB_ENDS))
    assert webhook(database, "https://a.example/", of_all_jobs=False) == hook
    of_job = webhook(database, "https://b.example/", of_all_jobs=False)
    assert not rows(database, Webhook)[1].of_all_jobs
    assert webhook(database, "https://b.example/", "job.failed") == of_job  # now of all
    assert (rows(database, Webhook)[1].of_all_jobs, rows(database, Webhook)[1].events) == (
        True,
        ["job.failed"],
    )
    with database.read() as session:
        assert [row.id for row in list_webhooks(session, TENANT, after=hook)] == [of_job]
        assert list_webhooks(session, "other") == []
    monkeypatch.setattr("db.webhooks.MAX_WEBHOOKS", 2)
    with database.write() as session, pytest.raises(TooManyWebhooks):
        add_webhook(session, NewWebhook(TENANT, "https://c.example/", "s", JOB_ENDS))


def test_the_queues_are_found_and_counted_by_their_indexes(database: Database) -> None:
    hook = webhook(database)
    happen(database, submit(database, request()), count=3)
    statements: list[tuple[str, Any]] = []

    @event.listens_for(database.engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> None:
        statements.append((statement, parameters))

    take(database)
    event.remove(database.engine, "before_cursor_execute", note)
    queues = next(one for one in statements if "RECURSIVE" in one[0])
    with database.read() as session:
        connection = session.connection()
        if connection.dialect.name == "sqlite":
            plan_rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {queues[0]}", queues[1]).all()
        else:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # a table of three rows
            plan_rows = connection.exec_driver_sql(f"EXPLAIN {queues[0]}", queues[1]).all()
        shown = "\n".join(str(row) for row in plan_rows)
    assert "Seq Scan on passes" not in shown
    assert not re.search(r"SCAN passes(?! USING)", shown)
    assert "ix_passes_ready" in shown
    assert hook


def test_a_removal_finds_passes_by_an_index(sqlite_database: Database) -> None:
    with sqlite_database.read() as session:
        lines = session.execute(
            text("EXPLAIN QUERY PLAN DELETE FROM passes WHERE delivery_id IN ('a', 'b')")
        ).all()
        assert "ix_passes_delivery_id" in str(lines)
        assert session.scalar(select(func.count()).select_from(Webhook)) == 0
