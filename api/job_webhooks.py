"""Find or make the webhook that a job names, at a URL that messages may be posted to."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.problems import InvalidField
from api.webhook_views import JobWebhook
from db.announcing import JOB_ENDS
from db.webhooks import NewWebhook, webhook_for_job
from settings import Settings
from webhooks.errors import InvalidWebhookUrl
from webhooks.signing import new_secret
from webhooks.urls import read_url


def checked_url(field: str, url: str, settings: Settings) -> str:
    """Return a URL that messages may be posted to; raises ``InvalidField``."""
    try:
        read_url(url, allow_private=settings.webhook_allow_private)
    except InvalidWebhookUrl as error:
        raise InvalidField(field, str(error)) from None
    return url


def webhook_of_job(session: Session, tenant: str, url: str | None, settings: Settings) -> JobWebhook | None:
    """Find or make the webhook that a submission names; the caller's transaction. Raises ``InvalidField``."""
    if url is None:
        return None
    new = NewWebhook(tenant, checked_url("webhook", url, settings), new_secret(), JOB_ENDS, of_all_jobs=False)
    row, is_new = webhook_for_job(session, new)
    return JobWebhook(id=row.id, url=row.url, secret=row.secret if is_new else None)
