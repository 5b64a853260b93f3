"""Define how clients register webhooks, and show webhooks and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field

from api.inputs import Input
from db.announcing import JOB_ENDS
from db.states import DeliveryState
from db.tables import Webhook, WebhookAttempt, WebhookDelivery

EventKind = Literal[
    "job.accepted",
    "job.succeeded",
    "job.partial",
    "job.failed",
    "job.cancelled",
    "recording.succeeded",
    "recording.partial",
    "recording.failed",
]


class WebhookInput(Input):
    """Where to tell you of what."""

    url: str = Field(
        max_length=2_048,
        description="An `https://` URL, on port 443 or 8443, that leads into the public internet.",
        examples=["https://example.com/earwitness"],
    )
    events: list[EventKind] = Field(
        ["job.succeeded", "job.partial", "job.failed", "job.cancelled"],
        min_length=1,
        max_length=len(get_args(EventKind)),
        description="What to be told; by default how jobs ended. Ask for single recordings only if you want "
        "a message for each of them.",
        examples=[["job.succeeded", "job.partial", "job.failed"]],
    )


class WebhookView(BaseModel):
    """An address that is told what happens to jobs."""

    id: str = Field(description="Id of the webhook.", examples=["0198f0a1-7c5e-7000-8000-000000000001"])
    url: str = Field(description="Where messages go.", examples=["https://example.com/earwitness"])
    events: list[str] = Field(description="What it is told.", examples=[["job.succeeded"]])
    of_all_jobs: bool = Field(description="Whether it is told of every job, or only of those that name it.")
    two_secrets: bool = Field(description="Whether the secret before the present one signs too.")
    failing_since: datetime | None = Field(description="When it began to fail; null while it takes messages.")
    disabled_at: datetime | None = Field(
        description="When it was disabled, after failing for too long or answering 410; nothing is sent since."
    )
    created_at: datetime = Field(description="When it was made.")


class WebhookWithSecret(WebhookView):
    """A webhook with the secret that signs its messages, which is not shown again."""

    secret: str = Field(
        description="Signs messages as Standard Webhooks has it. Keep it: it is shown this once.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )


class JobWebhook(BaseModel):
    """The webhook of one job."""

    id: str = Field(description="Id of the webhook.")
    url: str = Field(description="Where messages go.")
    secret: str | None = Field(
        description="What signs its messages, when this job is the first to name the URL; shown this once."
    )


class AttemptView(BaseModel):
    """One try to deliver."""

    number: int = Field(description="Which try, from 1.", examples=[1])
    status_code: int | None = Field(description="What the receiver answered.", examples=[200])
    error_code: str | None = Field(description="Why it failed, for programs.", examples=["webhook_timeout"])
    error_message: str | None = Field(description="Why it failed.")
    duration_ms: int = Field(description="How long it took, in milliseconds.", examples=[84])
    at: datetime = Field(description="When it ended.")


class DeliveryView(BaseModel):
    """One event on its way to one webhook."""

    id: str = Field(description="Id of the delivery.")
    message_id: str = Field(description="Its header `webhook-id`: the same on every try.")
    kind: str = Field(description="What happened.", examples=["job.succeeded"])
    job_id: str = Field(description="The job that it happened to.")
    state: DeliveryState = Field(description="pending, delivered, failed (given up) or cancelled.")
    payload: dict[str, Any] = Field(description="The message, as things stood when it happened.")
    attempts: list[AttemptView] = Field(description="How each try went.")
    created_at: datetime = Field(description="When it happened.")
    finished_at: datetime | None = Field(description="When it was delivered or given up.")


def show_webhook(row: Webhook) -> WebhookView:
    """Show a webhook without its secrets."""
    return WebhookView(**_facts(row))


def show_with_secret(row: Webhook) -> WebhookWithSecret:
    """Show a webhook to whom has just made or renewed its secret."""
    return WebhookWithSecret(**_facts(row), secret=row.secret)


def show_delivery(row: tuple[WebhookDelivery, Sequence[WebhookAttempt]]) -> DeliveryView:
    """Show a delivery with its tries."""
    delivery, tries = row
    return DeliveryView(
        id=delivery.id,
        message_id=delivery.event_id,
        kind=delivery.kind,
        job_id=delivery.job_id,
        state=DeliveryState(delivery.state),
        payload=delivery.payload,
        attempts=[AttemptView.model_validate(one, from_attributes=True) for one in tries],
        created_at=delivery.created_at,
        finished_at=delivery.finished_at,
    )


def _facts(row: Webhook) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "events": row.events or list(JOB_ENDS),
        "of_all_jobs": row.of_all_jobs,
        "two_secrets": row.old_secret is not None,
        "failing_since": row.failing_since,
        "disabled_at": row.disabled_at,
        "created_at": row.created_at,
    }
