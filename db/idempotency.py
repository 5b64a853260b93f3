"""Keep the first answer to each idempotency key, in the transaction of what it answers; replay it for a day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.statements import count_moved, insert_rows
from db.tables import IdempotencyKey

KEPT_SECONDS = 24 * 3600.0  # that a client may repeat a request and get the first answer
MOST_CHARACTERS = 255


class KeyInFlight(Exception):
    """The first request with this idempotency key is still under way."""

    code = "idempotency_key_in_flight"
    retryable = True


class KeyReused(Exception):
    """The idempotency key came with another request before."""

    code = "idempotency_key_reused"
    retryable = False


@dataclass(frozen=True)
class FirstAnswer:
    """What the first request with a key was answered."""

    status: int
    body: Mapping[str, Any]
    job_id: str | None


def find_answer(session: Session, tenant: str, key: str, request_sha256: str) -> FirstAnswer | None:
    """Return the first answer to a key, None when this is the first request; nobody else can be first meanwhile.

    Raises ``KeyInFlight`` while another transaction holds the key, and ``KeyReused`` for another request. On SQLite
    the write lock makes twins take turns.
    """
    if session.get_bind().dialect.name == "postgresql":
        held = session.scalar(
            select(func.pg_try_advisory_xact_lock(func.hashtextextended(f"{tenant} {key}", 0)))
        )
        if not held:
            raise KeyInFlight(f"a request with the idempotency key {key!r} is under way")
    own = (IdempotencyKey.tenant == tenant, IdempotencyKey.key == key)
    row = session.execute(
        select(IdempotencyKey, (IdempotencyKey.created_at < database_now(-KEPT_SECONDS)).label("old")).where(
            *own
        )
    ).first()
    if row is None:
        return None
    found = row.IdempotencyKey
    if row.old:
        count_moved(session, delete(IdempotencyKey).where(*own))
        return None
    if found.request_sha256 != request_sha256:
        raise KeyReused(f"the idempotency key {key!r} came with another request before: use a new key")
    return FirstAnswer(found.status or 200, found.body or {}, found.job_id)


def keep_answer(session: Session, tenant: str, key: str, request_sha256: str, answer: FirstAnswer) -> None:
    """Store the first answer; it commits or vanishes with what it tells of."""
    row = {
        "tenant": tenant,
        "key": key,
        "request_sha256": request_sha256,
        "status": answer.status,
        "body": dict(answer.body),
        "job_id": answer.job_id,
    }
    insert_rows(session, IdempotencyKey, [row])
