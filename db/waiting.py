"""Count the recordings that wait: of one tenant, or of all."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from db.tables import Job, Tenant
from db.tables.jobs import UNFINISHED

ALL_TENANTS = {"all_tenants": True}  # an execution option: see ``db.database``

_LOCK = 4_206_001  # of PostgreSQL's advisory locks; any number that nobody else takes


@dataclass(frozen=True)
class Waiting:
    """How many recordings wait, and the tenant's own limit, if it has one."""

    recordings: int
    own_limit: int | None


def count_waiting(session: Session, tenant: str | None) -> Waiting:
    """Count the recordings that are not finished in jobs that are not, of a tenant or of all."""
    left = (
        Job.recordings_total
        - Job.recordings_done
        - Job.recordings_failed
        - Job.recordings_skipped
        - Job.recordings_cancelled
    )
    # Written out as the index over unfinished jobs has it, so that finished ones cost nothing.
    query = select(func.coalesce(func.sum(left), 0)).where(text(f"jobs.{UNFINISHED}"))
    limit = select(Tenant.max_queued).where(Tenant.id == tenant).scalar_subquery()
    if tenant is not None:
        query = query.where(Job.tenant == tenant)
    row = session.execute(query.add_columns(limit), execution_options=ALL_TENANTS).one()
    return Waiting(int(row[0]), row[1])


def is_full(session: Session, tenant: str, *, own: int, total: int) -> bool:
    """Say whether as many recordings wait as may, of the tenant or of all."""
    ours = count_waiting(session, tenant)
    return ours.recordings >= (ours.own_limit or own) or count_waiting(session, None).recordings >= total


def take_turns(session: Session) -> None:
    """Let one transaction at a time go on, until it ends; on SQLite writers do anyway."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
