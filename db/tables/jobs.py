"""Declare what clients submit, and its history."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.states import Identity, IfSeen, JobState, LinkState, SourceKind, SourceState
from db.tables.base import OfTenant, Table, created_column, id_column, one_of, tenant_column, where_there
from db.types import Id

UNFINISHED = "state IN ('queued', 'running')"


class Job(OfTenant, Table):
    """One submission: sources, tasks, options."""

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JobState),
        Index(None, "tenant", "id"),
        Index(None, "state"),
        where_there("ix_jobs_retry_of", "retry_of"),
        where_there("ix_jobs_expires_at", "expires_at"),
        Index(
            "ix_jobs_unfinished",
            "tenant",
            postgresql_where=text(UNFINISHED),
            sqlite_where=text(UNFINISHED),
        ),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    priority: Mapped[int] = mapped_column(SmallInteger, default=0)  # higher runs sooner
    channels: Mapped[str] = mapped_column(String(8))  # mix or split
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    recordings_total: Mapped[int]
    recordings_done: Mapped[int] = mapped_column(default=0)  # succeeded or partial
    recordings_partial: Mapped[int] = mapped_column(default=0)
    recordings_failed: Mapped[int] = mapped_column(default=0)
    recordings_skipped: Mapped[int] = mapped_column(default=0)
    recordings_cancelled: Mapped[int] = mapped_column(default=0)
    sources_open: Mapped[int] = mapped_column(default=0)  # prefixes and manifests that still expand
    if_seen: Mapped[str] = mapped_column(String(8), default=IfSeen.REUSE)
    identity: Mapped[str] = mapped_column(
        String(8), default=Identity.VERSION
    )  # what is the same as what is there
    tracking: Mapped[str | None] = mapped_column(String(255))  # the client's own id, told to webhooks too
    webhook_id: Mapped[str | None] = mapped_column(ForeignKey("webhooks.id"))  # besides those of the tenant
    retry_of: Mapped[str | None] = mapped_column(Id)  # the job whose failed recordings this one tries again
    expires_at: Mapped[datetime | None]  # when it is deleted with all that no other job links to
    created_at: Mapped[datetime] = created_column()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobRecording(OfTenant, Table):
    """One source of a job and how far it has come; ``recording_id`` is set once the object has been found."""

    __tablename__ = "job_recordings"
    __table_args__ = (
        one_of("state", LinkState),
        UniqueConstraint("job_id", "position"),
        Index(None, "recording_id", "state"),
        Index(None, "job_id", "state"),
        where_there("ix_job_recordings_source_id", "source_id"),
        Index(None, "job_id", "uri"),
        Index(
            "ix_job_recordings_failed",
            "tenant",
            "id",
            postgresql_where=text("state IN ('failed', 'partial')"),
            sqlite_where=text("state IN ('failed', 'partial')"),
        ),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    position: Mapped[int]
    uri: Mapped[str] = mapped_column(Text)
    source_id: Mapped[str | None] = mapped_column(ForeignKey("job_sources.id"))  # None: named by itself
    recording_id: Mapped[str | None] = mapped_column(ForeignKey("recordings.id"))
    state: Mapped[str] = mapped_column(String(16), default=LinkState.QUEUED)
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    tracking: Mapped[str | None] = mapped_column(String(255))
    version: Mapped[str | None] = mapped_column(Text)  # as listed; the plan pins the one that it reads
    size_bytes: Mapped[int | None] = mapped_column(BigInteger)  # as listed
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = created_column()
    finished_at: Mapped[datetime | None]


class JobRequest(OfTenant, Table):
    """Which job asked which request."""

    __tablename__ = "job_requests"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant: Mapped[str] = tenant_column()
    position: Mapped[int]


class Event(OfTenant, Table):
    """What happened to a job, append-only."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    job_id: Mapped[str] = mapped_column(Id)  # no foreign key: the history outlives the job
    job_recording_id: Mapped[str | None] = mapped_column(Id)
    pass_id: Mapped[str | None] = mapped_column(Id)
    kind: Mapped[str] = mapped_column(String(32))  # such as job.accepted, recording.planned, pass.retried
    actor: Mapped[str] = mapped_column(String(128))  # api, or a worker's name
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = created_column()


class JobSource(OfTenant, Table):
    """A prefix or a manifest of a job: it becomes recordings page by page; ``cursor`` says how far it is."""

    __tablename__ = "job_sources"
    __table_args__ = (
        one_of("kind", SourceKind),
        one_of("state", SourceState),
        UniqueConstraint("job_id", "position"),
        Index(
            "ix_job_sources_failed",
            "tenant",
            "id",
            postgresql_where=text("state = 'failed'"),
            sqlite_where=text("state = 'failed'"),
        ),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    uri: Mapped[str] = mapped_column(Text)
    glob: Mapped[str | None] = mapped_column(Text)  # of keys below the prefix
    state: Mapped[str] = mapped_column(String(16), default=SourceState.EXPANDING)
    cursor: Mapped[str | None] = mapped_column(Text)
    objects_seen: Mapped[int] = mapped_column(default=0)
    objects_taken: Mapped[int] = mapped_column(default=0)
    objects_skipped: Mapped[int] = mapped_column(default=0)  # not audio by their names, or outside the glob
    lines_bad: Mapped[int] = mapped_column(default=0)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = created_column()
    finished_at: Mapped[datetime | None]


class SourceError(OfTenant, Table):
    """A line of a manifest that could not be taken, and why; the first thousand of each manifest."""

    __tablename__ = "source_errors"
    __table_args__ = (UniqueConstraint("source_id", "line"),)

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    source_id: Mapped[str] = mapped_column(ForeignKey("job_sources.id"))
    line: Mapped[int]
    code: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
