"""Count what waits and what is under way, for operators; every query follows an index of the open rows.

History may hold millions of finished passes: nothing here reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Text, cast, func, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.fairness import READY
from db.states import PassState
from db.tables import Job, Pass, Webhook


@dataclass(frozen=True)
class Depth:
    """How much work of one kind and model is open."""

    kind: str
    model: str
    ready: int = 0
    leased: int = 0
    expired: int = 0  # of the leased ones: their worker fell silent, and nobody has taken them back yet
    oldest_seconds: float | None = None  # since the oldest ready pass was made


def list_depths(session: Session) -> list[Depth]:
    """Return the open work by kind and model."""
    now = session.scalars(select(database_now())).one().timestamp()
    # An id is a UUIDv7, so the least one is the oldest; it stands in the index, and when the pass was made does not.
    # What may run now and what waits for its time stand in two indexes.
    ready: dict[tuple[str, str], tuple[int, str]] = {}
    for waits in (Pass.not_before.is_(None), Pass.not_before.is_not(None)):
        rows = session.execute(
            select(Pass.kind, Pass.model, func.count(), func.min(_as_text(session)))
            .where(Pass.state == READY, waits)
            .group_by(Pass.kind, Pass.model)
        )
        for kind, model, count, oldest in rows:
            before, first = ready.get((kind, model), (0, str(oldest)))
            ready[kind, model] = (before + count, min(first, str(oldest)))
    leased = session.execute(
        select(Pass.kind, Pass.model, func.count(), func.count().filter(Pass.lease_until < database_now()))
        .where(Pass.state == PassState.LEASED)
        .group_by(Pass.kind, Pass.model)
    ).all()
    under_way = {(kind, model): (count, expired) for kind, model, count, expired in leased}
    depths = []
    for (kind, model), (count, oldest) in ready.items():
        held, expired = under_way.pop((kind, model), (0, 0))
        age = max(0.0, now - made_at(oldest))
        depths.append(Depth(kind, model, count, held, expired, age))
    depths += [
        Depth(kind, model, leased=held, expired=expired)
        for (kind, model), (held, expired) in under_way.items()
    ]
    return sorted(depths, key=lambda depth: (depth.kind, depth.model))


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
        .where(Pass.state == PassState.FAILED)
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
