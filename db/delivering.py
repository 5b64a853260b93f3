"""Lease deliveries, webhook by webhook, and store how each try went: delivered, again later, or given up.

Every webhook is a queue of its own, so a receiver that is slow or away keeps nobody but itself waiting. A delivery
takes nothing of its job, and a cancelled one still has its end to tell: unlike other work it reads no job row.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, insert, literal_column, select, update
from sqlalchemy.orm import Session

from db.claiming import claim_passes
from db.claims import Claim, Failure, LeaseLost
from db.clock import database_now
from db.events import record_event
from db.fairness import READY, ready_again, wake_waiting
from db.setbacks import MAX_FAULTS, backoff_seconds
from db.statements import count_moved
from db.states import DeliveryState, PassKind, PassState
from db.tables import Pass, Webhook, WebhookAttempt, WebhookDelivery

AT_ONCE = 2  # deliveries to one webhook at a time, over all workers

# Written out: a parameter would hide from planners what a partial index holds.
LEASED: ColumnElement[str] = literal_column(f"'{PassState.LEASED}'")


@dataclass(frozen=True)
class RetryRules:
    """When to try again, and when to give a webhook up."""

    pauses_seconds: Sequence[float]  # before the second try, the third ...; behind the last there is none
    disable_after_seconds: float  # of failures without a success between them

    def pause_seconds(self, failures: int, jitter: float) -> float | None:
        """Return the pause after a failure, up to a fifth longer by ``jitter`` in [0, 1]; None says to give up."""
        if failures > len(self.pauses_seconds):
            return None
        return self.pauses_seconds[failures - 1] * (1 + jitter / 5)


@dataclass(frozen=True)
class DeliverWork:
    """One message and where it goes."""

    delivery_id: str
    message_id: str  # the event's: the same on every try
    url: str
    secrets: Sequence[str]  # the newest first
    payload: Mapping[str, Any]
    disabled: bool


@dataclass(frozen=True)
class Try:
    """How one try went; no ``error_code`` means that the receiver has taken the message."""

    duration_ms: int
    status_code: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    gone: bool = False  # the receiver says that there will never be anybody


def claim_deliveries(
    session: Session, kind: PassKind, worker: str, *, model: str = "", lease_seconds: float, limit: int = 1
) -> list[Claim]:
    """Lease up to ``limit`` deliveries, at most ``AT_ONCE`` of one webhook under way; called as ``claim_passes`` is.

    The webhook's row is locked while its queue is counted; one that another claim counts just now is passed over.
    """
    wake_waiting(session)
    queues = list(session.scalars(_waiting_webhooks()))
    claims: list[Claim] = []
    for webhook_id in _in_turns(session, queues):
        if len(claims) >= limit:
            break
        free = min(count_free(session, webhook_id), limit - len(claims))
        if free > 0:
            claims += claim_passes(
                session, PassKind.DELIVER, worker, model=webhook_id, lease_seconds=lease_seconds, limit=free
            )
    return claims


def _in_turns(session: Session, webhook_ids: Sequence[str]) -> list[str]:
    """Return webhooks in a random order in which tenants take turns: many slow ones of one keep no other waiting."""
    by_tenant: dict[str, list[str]] = {}
    for webhook in session.execute(select(Webhook.id, Webhook.tenant).where(Webhook.id.in_(webhook_ids))):
        by_tenant.setdefault(webhook.tenant, []).append(webhook.id)
    of_tenants = list(by_tenant.values())
    random.shuffle(of_tenants)
    for of_tenant in of_tenants:
        random.shuffle(of_tenant)
    rounds = itertools.zip_longest(*of_tenants)
    return [webhook_id for one_round in rounds for webhook_id in one_round if webhook_id is not None]


def count_free(session: Session, webhook_id: str) -> int:
    """Lock a webhook's row and count how many deliveries may begin now; none where another claim counts just now."""
    row = select(Webhook.id).where(Webhook.id == webhook_id)
    if session.scalar(row.with_for_update(skip_locked=True, key_share=True)) is None:
        return 0
    under_way = select(func.count()).where(
        Pass.state == LEASED, Pass.kind == PassKind.DELIVER, Pass.model == webhook_id
    )
    return AT_ONCE - (session.scalar(under_way) or 0)


def _waiting_webhooks() -> Select[Any]:
    """Select the webhooks that something is ready for, by one step in the index of ready passes for each."""
    ready = (Pass.state == READY, Pass.not_before.is_(None), Pass.kind == literal_column("'deliver'"))
    first = select(func.min(Pass.model)).where(*ready).scalar_subquery()
    queues = select(first.label("webhook_id")).cte("queues", recursive=True)
    following = select(func.min(Pass.model)).where(*ready, Pass.model > queues.c.webhook_id).scalar_subquery()
    queues = queues.union_all(select(following).where(queues.c.webhook_id.is_not(None)))
    return select(queues.c.webhook_id).where(queues.c.webhook_id.is_not(None))


def load_delivery(session: Session, claim: Claim) -> DeliverWork:
    """Return what a claim delivers; raises ``LeaseLost`` when the webhook was removed meanwhile."""
    row = session.execute(
        select(WebhookDelivery, Webhook)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(WebhookDelivery.id == claim.delivery_id)
    ).first()
    if row is None:
        raise LeaseLost(f"pass {claim.pass_id}: its webhook was removed")
    delivery, webhook = row
    return DeliverWork(
        delivery_id=delivery.id,
        message_id=delivery.event_id,
        url=webhook.url,
        secrets=[one for one in (webhook.secret, webhook.old_secret) if one is not None],
        payload=delivery.payload,
        disabled=webhook.disabled_at is not None,
    )


def complete_delivery(
    session: Session, claim: Claim, done: Try, rules: RetryRules, *, jitter: float = 0.5
) -> DeliveryState:
    """Store a try and return what became of the delivery: PENDING means again later. Raises ``LeaseLost``."""
    state = _move_pass(session, claim, done, rules, jitter)
    counted = _set_state(session, claim, state, tries=1)
    session.execute(
        insert(WebhookAttempt).values(
            tenant=claim.tenant,
            delivery_id=claim.delivery_id,
            number=counted.attempts,
            status_code=done.status_code,
            error_code=done.error_code,
            error_message=done.error_message,
            duration_ms=done.duration_ms,
        )
    )
    webhook = Webhook.id == counted.webhook_id
    if done.error_code is None:
        query = update(Webhook).where(webhook, Webhook.failing_since.is_not(None)).values(failing_since=None)
        count_moved(session, query)
        return state
    first = (
        update(Webhook).where(webhook, Webhook.failing_since.is_(None)).values(failing_since=database_now())
    )
    count_moved(session, first)
    _disable(session, claim, counted.webhook_id, rules, gone=done.gone)
    return state


def drop_delivery(session: Session, claim: Claim) -> None:
    """Give up a delivery of a disabled webhook without a try; raises ``LeaseLost``."""
    attempts = Pass.attempts - 1  # the claim counted one
    _close_pass(
        session, claim, PassState.FAILED, "webhook_disabled", "the webhook was disabled", attempts=attempts
    )
    _set_state(session, claim, DeliveryState.FAILED)


def retake_delivery(
    session: Session, claim: Claim, failure: Failure, *, expired: bool = False, jitter: float
) -> PassState:
    """Put down a delivery whose worker failed or, if ``expired``, fell silent: it goes again, arrived or not.

    That is no fault of the receiver and counts apart, as a crash, so that it ends some day. Raises ``LeaseLost``.
    """
    held = [*_held(claim), *([Pass.lease_until < database_now()] if expired else [])]
    faults = session.scalar(select(Pass.crashes).where(*held).with_for_update())
    if faults is None:
        raise LeaseLost(f"pass {claim.pass_id}: epoch {claim.epoch} no longer holds the lease")
    if faults + 1 >= MAX_FAULTS:
        crashes = Pass.crashes + 1
        _close_pass(session, claim, PassState.FAILED, failure.code, failure.message, crashes=crashes)
        _set_state(session, claim, DeliveryState.FAILED)
        return PassState.FAILED
    pause = backoff_seconds(faults + 1, jitter)
    _put_down(session, claim, failure.code, failure.message, pause, crashes=Pass.crashes + 1)
    return PassState.READY


def _move_pass(session: Session, claim: Claim, done: Try, rules: RetryRules, jitter: float) -> DeliveryState:
    """Close the pass, or put it down until the next try; the guard of the whole transaction."""
    if done.error_code is None:
        _close_pass(session, claim, PassState.DONE, None, None)
        return DeliveryState.DELIVERED
    failures = (session.scalar(select(Pass.errors).where(*_held(claim))) or 0) + 1
    pause = None if done.gone else rules.pause_seconds(failures, jitter)
    if pause is None:
        errors = Pass.errors + 1
        _close_pass(session, claim, PassState.FAILED, done.error_code, done.error_message, errors=errors)
        return DeliveryState.FAILED
    _put_down(session, claim, done.error_code, done.error_message, pause, errors=Pass.errors + 1)
    return DeliveryState.PENDING


def _put_down(
    session: Session, claim: Claim, code: str, message: str | None, pause: float, **counts: Any
) -> None:
    _update_pass(
        session,
        claim,
        **ready_again(),
        error_code=code,
        error_message=message,
        not_before=database_now(pause),
        **counts,
    )


def _close_pass(
    session: Session, claim: Claim, state: PassState, code: str | None, message: str | None, **counts: Any
) -> None:
    _update_pass(
        session,
        claim,
        state=state,
        lease_until=None,
        finished_at=database_now(),
        error_code=code,
        error_message=message,
        **counts,
    )


def _update_pass(session: Session, claim: Claim, **values: Any) -> None:
    if not count_moved(session, update(Pass).where(*_held(claim)).values(**values)):
        raise LeaseLost(f"pass {claim.pass_id}: epoch {claim.epoch} no longer holds the lease")


def _set_state(session: Session, claim: Claim, state: DeliveryState, *, tries: int = 0) -> Row[int, str]:
    """Move the delivery and return its ``attempts`` and ``webhook_id``."""
    return session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == claim.delivery_id)
        .values(
            state=state,
            attempts=WebhookDelivery.attempts + tries,
            finished_at=None if state == DeliveryState.PENDING else database_now(),
        )
        .returning(WebhookDelivery.attempts, WebhookDelivery.webhook_id)
        .execution_options(synchronize_session=False)
    ).one()


def _disable(session: Session, claim: Claim, webhook_id: str, rules: RetryRules, *, gone: bool) -> None:
    """Stop telling a webhook that has failed for too long, and say so in the history of the job that met it."""
    query = update(Webhook).where(Webhook.id == webhook_id, Webhook.disabled_at.is_(None))
    if not gone:
        query = query.where(Webhook.failing_since <= database_now(-rules.disable_after_seconds))
    if count_moved(session, query.values(disabled_at=database_now())):
        record_event(
            session,
            "webhook.disabled",
            tenant=claim.tenant,
            job_id=claim.job_id,
            pass_id=claim.pass_id,
            actor=claim.worker,
            data={"webhook_id": webhook_id, "gone": gone},
        )


def _held(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return (Pass.id == claim.pass_id, Pass.epoch == claim.epoch, Pass.state == PassState.LEASED)
