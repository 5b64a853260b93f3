"""Count what waits and what is under way, for operators and doorbells; every query follows an index of the open rows.

History may hold millions of finished passes: nothing here reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, func, select, text
from sqlalchemy.orm import Session

from db.clock import database_now
from db.states import PassKind
from db.tables import Job, Pass, Webhook
from db.tables.work import READY_NOW

WAITING = "state = 'ready' AND not_before IS NOT NULL"
LEASED = "state = 'leased'"


@dataclass(frozen=True)
class Depth:
    """How much work of one kind and model is open."""

    kind: str
    model: str
    ready: int = 0
    leased: int = 0
    expired: int = 0  # of the leased ones: their worker fell silent, and nobody has taken them back yet
    oldest_seconds: float | None = None  # since the oldest ready pass was made
    waiting: int = 0  # of the ready ones: they wait for another try, mostly after an error
    next_try_seconds: float | None = None  # until the first of those


def list_depths(session: Session) -> list[Depth]:
    """Return the open work by kind and model; deliveries, whose models are webhooks, are counted together."""
    now = session.scalars(select(database_now())).one().timestamp()
    found: dict[tuple[str, str], Depth] = {}

    def add(kind: str, model: str, **counted: Any) -> None:
        key = (kind, "" if kind == PassKind.DELIVER else model)
        depth = found.get(key, Depth(*key))
        ages = [age for age in (depth.oldest_seconds, counted.get("oldest_seconds")) if age is not None]
        tries = [one for one in (depth.next_try_seconds, counted.get("next_try_seconds")) if one is not None]
        found[key] = Depth(
            *key,
            ready=depth.ready + counted.get("ready", 0),
            leased=depth.leased + counted.get("leased", 0),
            expired=depth.expired + counted.get("expired", 0),
            oldest_seconds=max(ages, default=None),
            waiting=depth.waiting + counted.get("waiting", 0),
            next_try_seconds=min(tries, default=None),
        )

    # The conditions stand as in the partial indexes, word by word: SQLite uses one only then.
    for condition in (READY_NOW, WAITING):
        # An id is a UUIDv7, so the least one is the oldest; it stands in the index, its row's age does not.
        for kind, model, count, oldest, next_at in session.execute(
            select(
                *(Pass.kind, Pass.model, func.count()),
                *(func.min(_as_text(session)), func.min(Pass.not_before)),
            )
            .where(text(condition))
            .group_by(Pass.kind, Pass.model)
        ):
            add(kind, model, ready=count, oldest_seconds=max(0.0, now - made_at(str(oldest))))
            if next_at is not None:
                add(kind, model, waiting=count, next_try_seconds=max(0.0, next_at.timestamp() - now))
    for kind, model, count, expired in session.execute(
        select(Pass.kind, Pass.model, func.count(), func.count().filter(Pass.lease_until < database_now()))
        .where(text(LEASED))
        .group_by(Pass.kind, Pass.model)
    ):
        add(kind, model, leased=count, expired=expired)
    return [found[key] for key in sorted(found)]


def count_ready(session: Session) -> Mapping[tuple[str, str], int]:
    """Count the passes that a worker could claim now, by kind and model."""
    rows = session.execute(
        select(Pass.kind, Pass.model, func.count()).where(text(READY_NOW)).group_by(Pass.kind, Pass.model)
    )
    return {(kind, model): count for kind, model, count in rows}


def _as_text(session: Session) -> ColumnElement[str]:
    # PostgreSQL before 18 knows no least uuid; as text they sort the same.
    return Pass.id.expression if session.get_bind().dialect.name == "sqlite" else cast(Pass.id, Text)


def made_at(pass_id: str) -> float:
    """Return when a UUIDv7 was made, in seconds of the epoch."""
    return (UUID(pass_id).int >> 80) / 1000


def count_jobs(session: Session) -> Mapping[str, int]:
    """Count the jobs of all tenants by state."""
    rows = session.execute(select(Job.state, func.count()).group_by(Job.state))
    return {row[0]: row[1] for row in rows}


def count_failures(session: Session) -> Mapping[tuple[str, str], int]:
    """Count the passes that failed for good by kind and error code."""
    rows = session.execute(
        select(Pass.kind, Pass.error_code, func.count())
        .where(text("state = 'failed'"))
        .group_by(Pass.kind, Pass.error_code)
    )
    return {(kind, code or "unknown"): count for kind, code, count in rows}


def count_webhooks(session: Session) -> Mapping[str, int]:
    """Count the webhooks that fail at the moment, and those that were disabled."""
    failing, disabled = session.execute(
        select(
            func.count().filter(Webhook.failing_since.is_not(None), Webhook.disabled_at.is_(None)),
            func.count(Webhook.disabled_at),
        )
    ).one()
    return {"failing": failing, "disabled": disabled}
