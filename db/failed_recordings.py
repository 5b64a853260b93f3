"""List the recordings of a tenant that failed or are incomplete, the newest first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.tables import JobRecording

# As it stands in the partial index, word by word: SQLite uses one only where the condition is the same.
FAILED = "job_recordings.state IN ('failed', 'partial')"


def list_failures(
    session: Session, tenant: str, *, job_id: str | None = None, after: str | None = None, limit: int = 50
) -> Sequence[JobRecording]:
    """Return a page of what failed, of one job or of all, that comes behind the link ``after``."""
    query = (
        select(JobRecording)
        .where(JobRecording.tenant == tenant, text(FAILED))
        .order_by(JobRecording.id.desc())
        .limit(limit)
    )
    if job_id is not None:
        query = query.where(JobRecording.job_id == job_id)
    if after is not None:
        query = query.where(JobRecording.id < after)
    return session.scalars(query).all()
