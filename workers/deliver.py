"""Tell a webhook of an event: sign the message, post it once, store how that went."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

from db.delivering import (
    DeliverWork,
    RetryRules,
    Try,
    complete_delivery,
    drop_delivery,
    load_delivery,
)
from settings import Settings
from webhooks.errors import Refused, WebhookError
from webhooks.posting import PostOptions, post
from webhooks.signing import signed_headers
from workers.attempt import Ending
from workers.context import WorkerContext
from workers.leases import Lease

logger = logging.getLogger(__name__)

DELIVER_PLACES = 8  # deliveries that one process makes at a time: they mostly wait
GONE = 410  # the status that says that a receiver is gone for good


def deliver(context: WorkerContext, lease: Lease) -> Ending:
    """Work on a deliver pass, FAILED where the message did not arrive.

    A crash after the post sends the message again, under the same ``webhook-id``.
    """
    claim = lease.claim
    with context.database.read() as session:
        work = load_delivery(session, claim)
    if work.disabled:
        with context.database.write() as session:
            drop_delivery(session, claim)
        return Ending.FAILED
    done = attempt_post(work, context.settings)
    with context.database.write() as session:
        state = complete_delivery(session, claim, done, retry_rules(context.settings), jitter=_jitter())
    level = logging.WARNING if done.error_code else logging.INFO
    logger.log(
        level, "delivery %s is %s: %s", work.delivery_id, state, done.error_message or done.status_code
    )
    return Ending.FAILED if done.error_code else Ending.DONE


def attempt_post(work: DeliverWork, settings: Settings) -> Try:
    """Post one message and return how it went; whatever goes wrong is the receiver's answer or its lack."""
    body = message_body(work.payload)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "Earwitness",
        **signed_headers(work.secrets, work.message_id, int(time.time()), body),
    }
    began = time.monotonic()
    try:
        status = post(work.url, headers, body, PostOptions(allow_private=settings.webhook_allow_private))
    except Refused as error:
        gone = error.status_code == GONE
        return Try(_since(began), error.status_code, error.code, str(error), gone=gone)
    except WebhookError as error:
        return Try(_since(began), None, error.code, str(error))
    return Try(_since(began), status)


def message_body(payload: Mapping[str, Any]) -> bytes:
    """Return the same bytes for the same payload, also when a database has put its keys in another order."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()


def retry_rules(settings: Settings) -> RetryRules:
    """Return the rules that the settings name."""
    return RetryRules(settings.webhook_retry_seconds, settings.webhook_disable_seconds)


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1_000)


def _jitter() -> float:
    return random.random()  # noqa: S311  # spreads retries, guards nothing
