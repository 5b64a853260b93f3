"""List the sources of a tenant's jobs that failed or are incomplete, the newest first."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.tables import JobRecording, JobSource

# As they stand in the partial indexes, word by word: SQLite uses one only where the condition is the same.
FAILED_RECORDINGS = "job_recordings.state IN ('failed', 'partial')"
FAILED_SOURCES = "job_sources.state = 'failed'"


def list_failures(
    session: Session, tenant: str, *, job_id: str | None = None, after: str | None = None, limit: int = 50
) -> Sequence[JobRecording | JobSource]:
    """Return a page of the failed recordings, prefixes and manifests of a job or of all, behind the id ``after``."""
    found: list[JobRecording | JobSource] = []
    for table, failed in ((JobRecording, FAILED_RECORDINGS), (JobSource, FAILED_SOURCES)):
        query = (
            select(table).where(table.tenant == tenant, text(failed)).order_by(table.id.desc()).limit(limit)
        )
        if job_id is not None:
            query = query.where(table.job_id == job_id)
        if after is not None:
            query = query.where(table.id < after)
        found += session.scalars(query)
    return sorted(found, key=lambda source: source.id, reverse=True)[:limit]
