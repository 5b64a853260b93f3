"""Declare the leased work: recordings, chunks, requests and passes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from db.states import PassKind, PassState, RecordingState, RequestState
from db.tables.base import OfTenant, Table, created_column, id_column, one_of, tenant_column, where_there


class Recording(OfTenant, Table):
    """One audio object of a tenant in one version, decoded as ``mix`` or ``split``; jobs link to it, none owns it."""

    __tablename__ = "recordings"
    __table_args__ = (
        one_of("state", RecordingState),
        UniqueConstraint("tenant", "uri", "version", "channels", "generation"),
        where_there("ix_recordings_timeline_used_at", "timeline_used_at", "timeline_uri"),
        where_there("ix_recordings_content_sha256", "content_sha256"),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    uri: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)  # the object's ETag, or a file's size and times
    channels: Mapped[str] = mapped_column(String(8))  # mix or split
    generation: Mapped[int] = mapped_column(default=0)  # grows when a job says to hear it all again
    content_sha256: Mapped[str | None] = mapped_column(String(64))  # of the object's bytes
    state: Mapped[str] = mapped_column(String(16), default=RecordingState.NEW)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    container: Mapped[str | None] = mapped_column(String(32))
    codec: Mapped[str | None] = mapped_column(String(32))
    sampling_rate: Mapped[int | None]
    source_channels: Mapped[int | None]
    channel_count: Mapped[int | None]  # of the timeline: 1, or 2 when split
    duration_samples: Mapped[int | None] = mapped_column(BigInteger)
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    declared_ms: Mapped[int | None] = mapped_column(BigInteger)  # what the file's header says
    speech_ms: Mapped[int | None] = mapped_column(BigInteger)  # over all channels
    truncated: Mapped[bool] = mapped_column(default=False)  # far less decoded than the header declared
    chunk_count: Mapped[int | None]
    timeline_uri: Mapped[str | None] = mapped_column(Text)  # 16 kHz int16 little-endian PCM, interleaved
    timeline_sha256: Mapped[str | None] = mapped_column(String(64))
    timeline_used_at: Mapped[datetime | None]  # unused ones are dropped after a time
    warnings: Mapped[list[str]] = mapped_column(default=list)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = created_column()
    planned_at: Mapped[datetime | None]


class Request(OfTenant, Table):
    """A task with options for one model. Jobs that ask the same share the row, and so the results."""

    __tablename__ = "requests"
    __table_args__ = (UniqueConstraint("tenant", "key"),)

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    key: Mapped[str] = mapped_column(String(64))  # sha256 of task, options, model and prompt version
    task: Mapped[str] = mapped_column(String(32))
    options: Mapped[dict[str, Any]]
    model: Mapped[str] = mapped_column(Text)
    prompt_version: Mapped[int]
    created_at: Mapped[datetime] = created_column()


class RecordingRequest(OfTenant, Table):
    """How far one request has come on one recording, counted in chunks."""

    __tablename__ = "recording_requests"
    __table_args__ = (one_of("state", RequestState),)

    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant: Mapped[str] = tenant_column()
    state: Mapped[str] = mapped_column(String(16), default=RequestState.OPEN)
    chunks_total: Mapped[int]  # to be heard; skipped ones (no speech, say) are apart
    chunks_done: Mapped[int] = mapped_column(default=0)
    chunks_failed: Mapped[int] = mapped_column(default=0)
    chunks_skipped: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = created_column()


class Chunk(OfTenant, Table):
    """A piece of one channel: the owned spans tile the timeline; the heard span contains the owned one."""

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("recording_id", "channel", "index"),
        CheckConstraint(
            "heard_start <= owned_start AND owned_start < owned_end AND owned_end <= heard_end", name="spans"
        ),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"))
    channel: Mapped[int] = mapped_column(SmallInteger)
    index: Mapped[int]
    owned_start: Mapped[int] = mapped_column(BigInteger)  # samples
    owned_end: Mapped[int] = mapped_column(BigInteger)
    heard_start: Mapped[int] = mapped_column(BigInteger)
    heard_end: Mapped[int] = mapped_column(BigInteger)
    start_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    speech: Mapped[list[Any]] = mapped_column(default=list)  # [[start, end], ...] in samples of the timeline
    speech_samples: Mapped[int]


READY_NOW = "state = 'ready' AND not_before IS NULL"  # what waits for a time stands in no claim's way
SUSPECT_NOW = f"{READY_NOW} AND crashes >= 2"  # few: one more crash may set them aside


class Pass(OfTenant, Table):
    """A unit of leased work: a plan, one chunk to understand, a finish, or what its kind says. Final rows stay so."""

    __tablename__ = "passes"
    __table_args__ = (
        one_of("state", PassState),
        one_of("kind", PassKind),
        Index(
            "ix_passes_leased",
            "lease_until",
            postgresql_where=text("state = 'leased'"),
            sqlite_where=text("state = 'leased'"),
        ),
        Index(
            "ix_passes_failed",
            "kind",
            "error_code",
            postgresql_where=text("state = 'failed'"),
            sqlite_where=text("state = 'failed'"),
        ),
        Index(
            "ix_passes_waiting",
            "not_before",
            postgresql_where=text("state = 'ready' AND not_before IS NOT NULL"),
            sqlite_where=text("state = 'ready' AND not_before IS NOT NULL"),
        ),
        Index(
            "ix_passes_flow",
            *("tenant", "kind", "model", "priority", "virtual_time", "job_id"),
            postgresql_where=text(READY_NOW),
            sqlite_where=text(READY_NOW),
        ),
        Index("ix_passes_job", "job_id", "kind", "model", "id"),
        Index(None, "recording_id"),
        *(
            where_there(f"ix_passes_{column}", column)  # or each row that is deleted would read all passes
            for column in ("job_recording_id", "chunk_id", "source_id", "delivery_id")
        ),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
    kind: Mapped[str] = mapped_column(String(16))
    # Which workers may take it: empty for CPU work, the webhook's id for a delivery, whose queue it is.
    model: Mapped[str] = mapped_column(Text, default="")
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))  # the job that asked first
    job_recording_id: Mapped[str | None] = mapped_column(ForeignKey("job_recordings.id"))
    recording_id: Mapped[str | None] = mapped_column(ForeignKey("recordings.id"))
    chunk_id: Mapped[str | None] = mapped_column(ForeignKey("chunks.id"))
    source_id: Mapped[str | None] = mapped_column(ForeignKey("job_sources.id"))
    delivery_id: Mapped[str | None] = mapped_column(ForeignKey("webhook_deliveries.id"))
    request_ids: Mapped[list[str]] = mapped_column(default=list)
    state: Mapped[str] = mapped_column(String(16), default=PassState.READY)
    priority: Mapped[int] = mapped_column(SmallInteger, default=0)
    virtual_time: Mapped[float] = mapped_column(Float, default=0.0)
    epoch: Mapped[int] = mapped_column(Integer, default=0)  # grows with every claim: the fence
    attempts: Mapped[int] = mapped_column(default=0)  # claims that were not given back
    errors: Mapped[int] = mapped_column(default=0)  # attempts that reported a failure
    crashes: Mapped[int] = mapped_column(default=0)  # attempts whose worker fell silent
    worker: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = created_column()
    finished_at: Mapped[datetime | None]


for _name, _condition in (("ix_passes_ready", READY_NOW), ("ix_passes_suspect", SUSPECT_NOW)):
    Index(
        _name,
        *(Pass.kind, Pass.model, Pass.priority.desc(), Pass.virtual_time, Pass.id),
        postgresql_where=text(_condition),
        sqlite_where=text(_condition),
    )
