"""Check webhooks: what the receiver wrote down beside what the records say."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter, defaultdict
from typing import Any

from chaos.facts import Facts, Found, Hook, Received, Row, Violation

JOB_ENDS = (
    "job.succeeded",
    "job.partial",
    "job.failed",
    "job.cancelled",
)  # told where nothing else was asked
TOLERANCE_SECONDS = 300


def deliveries(facts: Facts) -> Found:
    """I8: each event reaches each webhook that wants it, signed, and is recorded as delivered once."""
    once = Counter((str(r["event_id"]), str(r["webhook_id"])) for r in facts.rows("webhook_deliveries"))
    for key, times in once.items():
        if times > 1:
            yield Violation("I8", "doubled", f"event and webhook {key} have {times} deliveries")
    hooks = facts.snapshot.hooks
    taken = {
        (hooks[one.path].webhook_id, one.message_id)
        for one in facts.snapshot.received
        if one.path in hooks and one.taken
    }
    successes: Counter[str] = Counter()
    for attempt in facts.rows("webhook_attempts"):
        successes[str(attempt["delivery_id"])] += int(200 <= (attempt["status_code"] or 0) < 300)
    for row in facts.rows("webhook_deliveries"):
        delivered = row["state"] == "delivered"
        if delivered and (str(row["webhook_id"]), str(row["event_id"])) not in taken:
            yield Violation("I8", "lost", f"delivery {row['id']} is recorded, and nobody received it")
        if successes[str(row["id"])] != int(delivered):
            fact = (
                f"delivery {row['id']} is {row['state']}, and records {successes[str(row['id'])]} successes"
            )
            yield Violation("I8", "doubled", fact)
    yield from _untold(facts, set(once), taken)
    yield from _messages(facts, set(once))


def _untold(facts: Facts, recorded: set[tuple[str, str]], taken: set[tuple[str, str]]) -> Found:
    """Everything that a webhook asked for has arrived there; a job that is gone took its messages with it."""
    for webhook in facts.rows("webhooks"):
        webhook_id = str(webhook["id"])
        for event in facts.rows("events"):
            job = facts.find("jobs", event["job_id"])
            if job is None or not _wants(webhook, event, job):
                continue
            if (str(event["id"]), webhook_id) not in recorded:
                yield Violation(
                    "I8", "lost", f"no delivery tells webhook {webhook_id} of event {event['id']}"
                )
            elif (webhook_id, str(event["id"])) not in taken:
                yield Violation("I8", "lost", f"webhook {webhook_id} was never told of event {event['id']}")


def _wants(webhook: Row, event: Row, job: Row | None) -> bool:
    """Say whether a webhook asks for an event; of a job that is gone nobody knows which webhook it named."""
    named = job is None or str(job["webhook_id"]) == str(webhook["id"])
    kinds = webhook["events"] or JOB_ENDS
    return (
        webhook["tenant"] == event["tenant"] and event["kind"] in kinds and (webhook["of_all_jobs"] or named)
    )


def _messages(facts: Facts, recorded: set[tuple[str, str]]) -> Found:
    bodies = defaultdict(set)
    for one in facts.snapshot.received:
        hook = facts.snapshot.hooks.get(one.path)
        webhook = None if hook is None else facts.find("webhooks", hook.webhook_id)
        if hook is None or webhook is None:
            yield Violation(
                "I8", "doubled", f"message {one.message_id} went to {one.path}, which nobody asked for"
            )
            continue
        bodies[one.path, one.message_id].add(one.body)
        if not is_signed(hook, one):
            yield Violation(
                "I8", "lost", f"message {one.message_id} to {one.path} is not signed by its secret"
            )
            continue
        yield from _one_message(facts, webhook, one, recorded)
    for (path, message_id), told in bodies.items():
        if len(told) > 1:
            yield Violation("I8", "doubled", f"message {message_id} told {path} {len(told)} different things")


def _one_message(facts: Facts, webhook: Row, one: Received, recorded: set[tuple[str, str]]) -> Found:
    event = facts.find("events", one.message_id)
    if event is None:
        yield Violation("I8", "doubled", f"message {one.message_id} tells of an event that never happened")
        return
    job = facts.find("jobs", event["job_id"])
    if event["tenant"] != webhook["tenant"]:
        yield Violation(
            "I8", "lost", f"message {one.message_id} told {webhook['tenant']} of another tenant's job"
        )
    elif not _wants(webhook, event, job):
        yield Violation("I8", "doubled", f"webhook {webhook['id']} never asked for message {one.message_id}")
    if job is not None and (one.message_id, str(webhook["id"])) not in recorded:
        yield Violation("I8", "doubled", f"message {one.message_id} was sent, and no delivery is recorded")
    told: dict[str, Any] = json.loads(one.body)
    if told["type"] != event["kind"] or told["data"]["job"]["id"] != str(event["job_id"]):
        yield Violation("I8", "lost", f"message {one.message_id} says something else than its event")
    elif event["kind"] in JOB_ENDS and f"job.{told['data']['job']['state']}" != event["kind"]:
        yield Violation(
            "I8", "lost", f"message {one.message_id} shows its job {told['data']['job']['state']}"
        )


def is_signed(hook: Hook, one: Received) -> bool:
    """Say whether a message bears the signature of Standard Webhooks, and the time at which it came."""
    if not one.timestamp.isdecimal() or abs(one.at - int(one.timestamp)) > TOLERANCE_SECONDS:
        return False
    key = base64.b64decode(hook.secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{one.message_id}.{one.timestamp}.{one.body}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}" in one.signature.split(" ")
