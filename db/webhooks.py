"""Keep webhooks: who wants to be told what, their secrets, and the log of what was told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from db.announcing import open_pass
from db.clock import database_now
from db.database import Database
from db.queries import NotFound
from db.statements import count_moved, insert_missing
from db.states import DeliveryState, PassKind, PassState
from db.tables import Job, Pass, Webhook, WebhookAttempt, WebhookDelivery
from db.types import new_id

MAX_WEBHOOKS = 1_000  # of a tenant, those of single jobs included
_PAGE = 500  # deliveries removed in one transaction


class WebhookExists(Exception):
    """The tenant has a webhook at this URL."""

    code = "webhook_exists"
    retryable = False


class TooManyWebhooks(Exception):
    """The tenant has as many webhooks as it may have."""

    code = "too_many_webhooks"
    retryable = False


class WebhookDisabled(Exception):
    """The webhook is disabled: nothing is sent to it."""

    code = "webhook_disabled"
    retryable = False


@dataclass(frozen=True)
class NewWebhook:
    """Where to tell a tenant of what; ``events`` are of ``announcing.TELLABLE``."""

    tenant: str
    url: str
    secret: str
    events: Sequence[str]
    of_all_jobs: bool = True


def add_webhook(session: Session, new: NewWebhook) -> Webhook:
    """Store a webhook; one of single jobs becomes one of all. Raises ``WebhookExists`` and ``TooManyWebhooks``."""
    row = _insert(session, new)
    if row is not None:
        return row
    moved = count_moved(
        session,
        update(Webhook)
        .where(Webhook.tenant == new.tenant, Webhook.url == new.url, Webhook.of_all_jobs.is_(False))
        .values(of_all_jobs=True, events=list(new.events), secret=new.secret, old_secret=Webhook.secret),
    )
    known = _at_url(session, new.tenant, new.url)
    if not moved:
        raise WebhookExists(f"webhook {known.id} has this URL: remove it first, or rotate its secret")
    return known


def webhook_for_job(session: Session, new: NewWebhook) -> tuple[Webhook, bool]:
    """Return the webhook at a URL that a job names, and whether it was made for it; one that was disabled works again.

    Raises ``TooManyWebhooks``.
    """
    if (row := _insert(session, new)) is not None:
        return row, True
    known = _at_url(session, new.tenant, new.url)
    enable_webhook(session, new.tenant, known.id)
    return known, False


def _insert(session: Session, new: NewWebhook) -> Webhook | None:
    count = session.scalar(select(func.count()).select_from(Webhook).where(Webhook.tenant == new.tenant))
    row = {
        "id": new_id(),
        "tenant": new.tenant,
        "url": new.url,
        "secret": new.secret,
        "events": list(new.events),
        "of_all_jobs": new.of_all_jobs,
    }
    if not insert_missing(session, Webhook, row):
        return None
    if (count or 0) >= MAX_WEBHOOKS:
        raise TooManyWebhooks(f"there are {MAX_WEBHOOKS} webhooks, which is the most: remove some first")
    return get_webhook(session, new.tenant, str(row["id"]))


def _at_url(session: Session, tenant: str, url: str) -> Webhook:
    found = select(Webhook).where(Webhook.tenant == tenant, Webhook.url == url)
    return session.scalars(found.execution_options(populate_existing=True)).one()


def get_webhook(session: Session, tenant: str, webhook_id: str) -> Webhook:
    """Return a webhook; raises ``NotFound``."""
    query = select(Webhook).where(Webhook.tenant == tenant, Webhook.id == webhook_id)
    found = session.scalars(query.execution_options(populate_existing=True)).first()
    if found is None:
        raise NotFound(f"there is no webhook {webhook_id}")
    return found


def list_webhooks(
    session: Session, tenant: str, *, after: str | None = None, limit: int = 50
) -> Sequence[Webhook]:
    """Return a page of webhooks, the oldest first."""
    query = select(Webhook).where(Webhook.tenant == tenant).order_by(Webhook.id).limit(limit)
    return session.scalars(query if after is None else query.where(Webhook.id > after)).all()


def enable_webhook(session: Session, tenant: str, webhook_id: str) -> Webhook:
    """Let a webhook be told again, from now on; what it missed can be redelivered. Raises ``NotFound``."""
    count_moved(
        session,
        update(Webhook)
        .where(Webhook.tenant == tenant, Webhook.id == webhook_id, Webhook.disabled_at.is_not(None))
        .values(disabled_at=None, failing_since=None),
    )
    return get_webhook(session, tenant, webhook_id)


def rotate_secret(session: Session, tenant: str, webhook_id: str, secret: str) -> Webhook:
    """Sign with a new secret, and with the present one beside it until ``end_rotation``; raises ``NotFound``."""
    count_moved(
        session,
        update(Webhook)
        .where(Webhook.tenant == tenant, Webhook.id == webhook_id)
        .values(secret=secret, old_secret=Webhook.secret),
    )
    return get_webhook(session, tenant, webhook_id)


def end_rotation(session: Session, tenant: str, webhook_id: str) -> Webhook:
    """Forget the old secret; raises ``NotFound``."""
    count_moved(
        session,
        update(Webhook).where(Webhook.tenant == tenant, Webhook.id == webhook_id).values(old_secret=None),
    )
    return get_webhook(session, tenant, webhook_id)


def remove_webhook(database: Database, tenant: str, webhook_id: str) -> None:
    """Remove a webhook with its log, page by page, each in its own transaction; raises ``NotFound``.

    It is disabled first, so that nothing new comes. A crash leaves a disabled webhook, and removing it again goes on.
    """
    with database.write(tenant) as session:
        get_webhook(session, tenant, webhook_id)
        disabled = {"disabled_at": func.coalesce(Webhook.disabled_at, database_now()), "of_all_jobs": False}
        count_moved(session, update(Webhook).where(Webhook.id == webhook_id).values(**disabled))
        count_moved(session, update(Job).where(Job.webhook_id == webhook_id).values(webhook_id=None))
    while True:
        with database.write(tenant) as session:
            if not _remove_page(session, webhook_id):
                count_moved(session, delete(Webhook).where(Webhook.id == webhook_id))
                return


def _remove_page(session: Session, webhook_id: str) -> int:
    page = session.scalars(
        select(WebhookDelivery.id).where(WebhookDelivery.webhook_id == webhook_id).limit(_PAGE)
    ).all()
    if page:
        remove_deliveries(session, page)
    return len(page)


def remove_deliveries(session: Session, delivery_ids: Sequence[str]) -> None:
    """Remove deliveries with their tries and their passes; who delivers one just now finds its lease lost."""
    count_moved(session, delete(Pass).where(Pass.delivery_id.in_(delivery_ids)))
    count_moved(session, delete(WebhookAttempt).where(WebhookAttempt.delivery_id.in_(delivery_ids)))
    count_moved(session, delete(WebhookDelivery).where(WebhookDelivery.id.in_(delivery_ids)))


def list_deliveries(
    session: Session,
    tenant: str,
    webhook_id: str,
    *,
    state: str | None = None,
    after: str | None = None,
    limit: int = 50,
) -> Sequence[tuple[WebhookDelivery, Sequence[WebhookAttempt]]]:
    """Return a page of a webhook's deliveries, the newest first, each with its tries in their order."""
    query = (
        select(WebhookDelivery)
        .where(WebhookDelivery.tenant == tenant, WebhookDelivery.webhook_id == webhook_id)
        .order_by(WebhookDelivery.id.desc())
        .limit(limit)
    )
    if state is not None:
        query = query.where(WebhookDelivery.state == state)
    if after is not None:
        query = query.where(WebhookDelivery.id < after)
    deliveries = session.scalars(query).all()
    tries: dict[str, list[WebhookAttempt]] = {delivery.id: [] for delivery in deliveries}
    for one in session.scalars(
        select(WebhookAttempt)
        .where(WebhookAttempt.delivery_id.in_(list(tries)))
        .order_by(WebhookAttempt.delivery_id, WebhookAttempt.number)
    ):
        tries[one.delivery_id].append(one)
    return [(delivery, tries[delivery.id]) for delivery in deliveries]


def list_attempts(session: Session, delivery_id: str) -> Sequence[WebhookAttempt]:
    """Return the tries of a delivery in their order."""
    of_it = select(WebhookAttempt).where(WebhookAttempt.delivery_id == delivery_id)
    return session.scalars(of_it.order_by(WebhookAttempt.number)).all()


def redeliver(session: Session, tenant: str, webhook_id: str, delivery_id: str) -> WebhookDelivery:
    """Send a delivery again, under the same id: one that waits goes now, one that is over gets a new pass.

    Raises ``NotFound`` and ``WebhookDisabled``.
    """
    webhook = get_webhook(session, tenant, webhook_id)
    found = select(WebhookDelivery).where(
        WebhookDelivery.tenant == tenant,
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.id == delivery_id,
    )
    # The delivery's row lock: two who ask at once get one pass.
    delivery = session.scalars(found.with_for_update().execution_options(populate_existing=True)).first()
    if delivery is None:
        raise NotFound(f"there is no delivery {delivery_id} of webhook {webhook_id}")
    if webhook.disabled_at is not None:
        raise WebhookDisabled(f"webhook {webhook_id} is disabled: enable it first")
    if delivery.state == DeliveryState.PENDING:
        _hasten(session, delivery_id)
        return delivery
    delivery.state, delivery.finished_at = DeliveryState.PENDING, None
    session.flush()
    open_pass(session, tenant, delivery.job_id, webhook_id, delivery_id)
    return delivery


def _hasten(session: Session, delivery_id: str) -> None:
    count_moved(
        session,
        update(Pass)
        .where(Pass.delivery_id == delivery_id, Pass.kind == PassKind.DELIVER, Pass.state == PassState.READY)
        .values(not_before=None),
    )
