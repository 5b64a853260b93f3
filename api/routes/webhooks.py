"""Let clients say who is to be told what happens to their jobs, and see what was told."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from api.idempotency import OnceOnly
from api.inputs import Input
from api.job_webhooks import checked_url
from api.pages import Cursor, Id, Limit, Page, make_page
from api.problems import Problem
from api.services import Wired
from api.tenancy import Tenant
from api.webhook_views import (
    DeliveryView,
    WebhookInput,
    WebhookView,
    WebhookWithSecret,
    show_delivery,
    show_webhook,
    show_with_secret,
)
from db import webhooks
from db.states import DeliveryState, PassKind
from db.webhooks import NewWebhook
from webhooks.signing import new_secret

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

_ABSENT: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such webhook or delivery."}
}
_CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": Problem, "description": "The webhook's state forbids it; `code` says which."}
}


class WebhooksQuery(Input):
    """How to page through webhooks."""

    limit: Limit
    after: Cursor


class DeliveriesQuery(WebhooksQuery):
    """How to page through deliveries."""

    state: DeliveryState | None = Field(None, description="Only deliveries in this state.")


@router.post(
    "",
    status_code=201,
    summary="Register a webhook",
    responses=_CONFLICT,
    response_model=WebhookWithSecret,
)
def create_webhook(
    wanted: WebhookInput, response: Response, services: Wired, tenant: Tenant, once: OnceOnly
) -> WebhookWithSecret | Response:
    """Tell this URL of every job. The answer holds the secret that signs the messages, which is shown this once."""
    new = NewWebhook(tenant, checked_url("url", wanted.url, services.settings), new_secret(), wanted.events)
    with once.transaction() as session:
        if once.answer is not None:
            return once.answer
        shown = show_with_secret(webhooks.add_webhook(session, new))
        once.keep(session, 201, shown)
    response.headers["Location"] = f"{router.prefix}/{shown.id}"
    return shown


@router.get("", summary="List webhooks")
def list_webhooks(
    query: Annotated[WebhooksQuery, Query()], services: Wired, tenant: Tenant
) -> Page[WebhookView]:
    """List webhooks, the oldest first; those that fail or were disabled say since when."""
    with services.database.read(tenant) as session:
        rows = webhooks.list_webhooks(session, tenant, after=query.after, limit=query.limit + 1)
    return make_page(rows, query.limit, show_webhook, lambda row: row.id)


@router.get("/{webhook_id}", summary="Read a webhook", responses=_ABSENT)
def get_webhook(webhook_id: Id, services: Wired, tenant: Tenant) -> WebhookView:
    """Return where messages go, what is told, and whether it works."""
    with services.database.read(tenant) as session:
        return show_webhook(webhooks.get_webhook(session, tenant, webhook_id))


@router.delete("/{webhook_id}", status_code=204, summary="Remove a webhook", responses=_ABSENT)
def delete_webhook(webhook_id: Id, services: Wired, tenant: Tenant) -> None:
    """Remove a webhook with the log of its deliveries; those that wait are not made any more."""
    webhooks.remove_webhook(services.database, tenant, webhook_id)


@router.post("/{webhook_id}/enable", summary="Enable a webhook", responses=_ABSENT)
def enable_webhook(webhook_id: Id, services: Wired, tenant: Tenant) -> WebhookView:
    """Send to a disabled webhook again, from now on. What it missed can be redelivered."""
    with services.database.write(tenant) as session:
        return show_webhook(webhooks.enable_webhook(session, tenant, webhook_id))


@router.post(
    "/{webhook_id}/rotate",
    summary="Rotate a webhook's secret",
    responses=_ABSENT,
    response_model=WebhookWithSecret,
)
def rotate_webhook(webhook_id: Id, tenant: Tenant, once: OnceOnly) -> WebhookWithSecret | Response:
    """Make a new secret and show it. Messages carry a signature of each until the old one is dropped."""
    with once.transaction() as session:
        if once.answer is not None:
            return once.answer
        shown = show_with_secret(webhooks.rotate_secret(session, tenant, webhook_id, new_secret()))
        once.keep(session, 200, shown)
    return shown


@router.delete("/{webhook_id}/old-secret", summary="Drop a webhook's old secret", responses=_ABSENT)
def drop_old_secret(webhook_id: Id, services: Wired, tenant: Tenant) -> WebhookView:
    """End a rotation: only the newest secret signs from now on."""
    with services.database.write(tenant) as session:
        return show_webhook(webhooks.end_rotation(session, tenant, webhook_id))


@router.get("/{webhook_id}/deliveries", summary="List deliveries", responses=_ABSENT)
def list_deliveries(
    webhook_id: Id, query: Annotated[DeliveriesQuery, Query()], services: Wired, tenant: Tenant
) -> Page[DeliveryView]:
    """List what a webhook was told, the newest first, with every try."""
    with services.database.read(tenant) as session:
        webhooks.get_webhook(session, tenant, webhook_id)
        rows = webhooks.list_deliveries(
            session, tenant, webhook_id, state=query.state, after=query.after, limit=query.limit + 1
        )
        return make_page(rows, query.limit, show_delivery, lambda row: row[0].id)


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/redeliver",
    status_code=202,
    summary="Redeliver",
    responses={**_ABSENT, **_CONFLICT},
)
def redeliver(webhook_id: Id, delivery_id: Id, services: Wired, tenant: Tenant) -> DeliveryView:
    """Send the same message again, under the same `webhook-id`; one that waits for its next try goes now."""
    with services.database.write(tenant) as session:
        delivery = webhooks.redeliver(session, tenant, webhook_id, delivery_id)
        shown = show_delivery((delivery, webhooks.list_attempts(session, delivery.id)))
    services.ring(PassKind.DELIVER, 1)
    return shown
