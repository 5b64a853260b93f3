"""Declare the tables that people query. Times are integer samples at 16 kHz and integer milliseconds side by side."""

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
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.clock import database_now
from db.states import JobState, LinkState, PassKind, PassState, RecordingState, RequestState
from db.types import Id, Json, UtcDateTime, new_id

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Table(DeclarativeBase):
    """The base of all tables."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012  # SQLAlchemy reads this attribute
        datetime: UtcDateTime(),
        dict[str, Any]: Json,
        list[Any]: Json,
        list[str]: Json,
    }


def _id_column() -> Mapped[str]:
    return mapped_column(Id, primary_key=True, default=new_id)


def _tenant_column() -> Mapped[str]:
    return mapped_column(String(64))


def _created_column() -> Mapped[datetime]:
    return mapped_column(UtcDateTime, default=database_now())


def _one_of(column: str, kinds: type[Any]) -> CheckConstraint:
    values = ", ".join(f"'{kind.value}'" for kind in kinds)
    return CheckConstraint(f"{column} IN ({values})", name=column)


class Job(Table):
    """One submission: sources, tasks, options."""

    __tablename__ = "jobs"
    __table_args__ = (_one_of("state", JobState), Index(None, "tenant", "id"))

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED)
    priority: Mapped[int] = mapped_column(SmallInteger, default=0)  # higher runs sooner
    channels: Mapped[str] = mapped_column(String(8))  # mix or split
    client_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    recordings_total: Mapped[int]
    recordings_done: Mapped[int] = mapped_column(default=0)  # succeeded or partial
    recordings_partial: Mapped[int] = mapped_column(default=0)
    recordings_failed: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = _created_column()
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class Recording(Table):
    """One audio object of a tenant in one version, decoded as ``mix`` or ``split``; jobs link to it, none owns it."""

    __tablename__ = "recordings"
    __table_args__ = (
        _one_of("state", RecordingState),
        UniqueConstraint("tenant", "uri", "version", "channels"),
    )

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    uri: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)  # the object's ETag, or a file's size and times
    channels: Mapped[str] = mapped_column(String(8))  # mix or split
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
    warnings: Mapped[list[str]] = mapped_column(default=list)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = _created_column()
    planned_at: Mapped[datetime | None]


class JobRecording(Table):
    """One source of a job and how far it has come; ``recording_id`` is set once the object has been found."""

    __tablename__ = "job_recordings"
    __table_args__ = (
        _one_of("state", LinkState),
        UniqueConstraint("job_id", "position"),
        Index(None, "recording_id", "state"),
    )

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    position: Mapped[int]
    uri: Mapped[str] = mapped_column(Text)
    recording_id: Mapped[str | None] = mapped_column(ForeignKey("recordings.id"))
    state: Mapped[str] = mapped_column(String(16), default=LinkState.QUEUED)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = _created_column()
    finished_at: Mapped[datetime | None]


class Request(Table):
    """A task with options for one model. Jobs that ask the same share the row, and so the results."""

    __tablename__ = "requests"
    __table_args__ = (UniqueConstraint("tenant", "key"),)

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    key: Mapped[str] = mapped_column(String(64))  # sha256 of task, options, model and prompt version
    task: Mapped[str] = mapped_column(String(32))
    options: Mapped[dict[str, Any]]
    model: Mapped[str] = mapped_column(Text)
    prompt_version: Mapped[int]
    created_at: Mapped[datetime] = _created_column()


class JobRequest(Table):
    """Which job asked which request."""

    __tablename__ = "job_requests"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant: Mapped[str] = _tenant_column()
    position: Mapped[int]


class RecordingRequest(Table):
    """How far one request has come on one recording, counted in chunks."""

    __tablename__ = "recording_requests"
    __table_args__ = (_one_of("state", RequestState),)

    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant: Mapped[str] = _tenant_column()
    state: Mapped[str] = mapped_column(String(16), default=RequestState.OPEN)
    chunks_total: Mapped[int]  # to be heard; skipped ones (no speech, say) are apart
    chunks_done: Mapped[int] = mapped_column(default=0)
    chunks_failed: Mapped[int] = mapped_column(default=0)
    chunks_skipped: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = _created_column()


class Chunk(Table):
    """A piece of one channel: the owned spans tile the timeline; the heard span contains the owned one."""

    __tablename__ = "chunks"
    __table_args__ = (
        UniqueConstraint("recording_id", "channel", "index"),
        CheckConstraint(
            "heard_start <= owned_start AND owned_start < owned_end AND owned_end <= heard_end", name="spans"
        ),
    )

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
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


class Pass(Table):
    """A unit of leased work: a plan, one chunk to understand, or a finish. Terminal rows are never reopened."""

    __tablename__ = "passes"
    __table_args__ = (
        _one_of("state", PassState),
        _one_of("kind", PassKind),
        Index(
            "ix_passes_leased",
            "lease_until",
            postgresql_where=text("state = 'leased'"),
            sqlite_where=text("state = 'leased'"),
        ),
        Index(None, "job_id"),
        Index(None, "recording_id"),
    )

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    kind: Mapped[str] = mapped_column(String(16))
    model: Mapped[str] = mapped_column(Text, default="")  # which workers may take it; empty for CPU work
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))  # the job that asked first
    job_recording_id: Mapped[str | None] = mapped_column(ForeignKey("job_recordings.id"))
    recording_id: Mapped[str | None] = mapped_column(ForeignKey("recordings.id"))
    chunk_id: Mapped[str | None] = mapped_column(ForeignKey("chunks.id"))
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
    created_at: Mapped[datetime] = _created_column()
    finished_at: Mapped[datetime | None]


Index(
    "ix_passes_ready",
    Pass.kind,
    Pass.model,
    Pass.priority.desc(),
    Pass.virtual_time,
    Pass.id,
    postgresql_where=Pass.state == PassState.READY.value,
    sqlite_where=Pass.state == PassState.READY.value,
)


class Result(Table):
    """The answer to one request for one chunk; unique, whatever was run twice."""

    __tablename__ = "results"
    __table_args__ = (UniqueConstraint("chunk_id", "request_id"), Index(None, "recording_id", "request_id"))

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"))
    chunk_id: Mapped[str] = mapped_column(ForeignKey("chunks.id"))
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    pass_id: Mapped[str] = mapped_column(ForeignKey("passes.id"))
    epoch: Mapped[int]
    raw_text: Mapped[str] = mapped_column(Text)  # as the model said it, control tokens kept
    parsed: Mapped[dict[str, Any]]
    flags: Mapped[list[str]] = mapped_column(default=list)
    finish_reason: Mapped[str] = mapped_column(String(16))
    avg_logprob: Mapped[float | None]
    tokens: Mapped[int]
    model: Mapped[str] = mapped_column(Text)
    model_revision: Mapped[str] = mapped_column(String(64))
    prompt_version: Mapped[int]
    numbers: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = _created_column()


class Segment(Table):
    """An utterance of a transcript."""

    __tablename__ = "segments"
    __table_args__ = (
        UniqueConstraint("recording_id", "request_id", "index"),
        Index(None, "recording_id", "start_ms"),
    )

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"))
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    index: Mapped[int]
    channel: Mapped[int] = mapped_column(SmallInteger)
    start_sample: Mapped[int] = mapped_column(BigInteger)
    end_sample: Mapped[int] = mapped_column(BigInteger)
    start_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    text: Mapped[str] = mapped_column(Text)
    language: Mapped[str | None] = mapped_column(String(8))
    words: Mapped[list[Any]] = mapped_column(
        default=list
    )  # [{word, start_ms, end_ms, start_sample, end_sample, confidence}]
    avg_logprob: Mapped[float | None]
    compression_ratio: Mapped[float | None]
    no_speech_prob: Mapped[float | None]
    flags: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = _created_column()


class Annotation(Table):
    """Anything else that was found on the timeline: a caption, an emotion."""

    __tablename__ = "annotations"
    __table_args__ = (
        UniqueConstraint("recording_id", "request_id", "index"),
        Index(None, "recording_id", "task", "start_ms"),
        Index(None, "tenant", "task", "label"),
    )

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"))
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"))
    index: Mapped[int]
    task: Mapped[str] = mapped_column(String(32))
    channel: Mapped[int] = mapped_column(SmallInteger)
    start_sample: Mapped[int] = mapped_column(BigInteger)
    end_sample: Mapped[int] = mapped_column(BigInteger)
    start_ms: Mapped[int] = mapped_column(BigInteger)
    end_ms: Mapped[int] = mapped_column(BigInteger)
    label: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    flags: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = _created_column()


class Summary(Table):
    """What one request found, said of the whole recording."""

    __tablename__ = "summaries"
    __table_args__ = (Index(None, "tenant", "task", "label"),)

    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant: Mapped[str] = _tenant_column()
    task: Mapped[str] = mapped_column(String(32))
    label: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    confidence: Mapped[float | None]  # the share of the votes for the label
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = _created_column()


class Event(Table):
    """What happened to a job, append-only."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "job_id", "id"),)

    id: Mapped[str] = _id_column()
    tenant: Mapped[str] = _tenant_column()
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    job_recording_id: Mapped[str | None] = mapped_column(Id)
    pass_id: Mapped[str | None] = mapped_column(Id)
    kind: Mapped[str] = mapped_column(String(32))  # such as job.accepted, recording.planned, pass.retried
    actor: Mapped[str] = mapped_column(String(128))  # api, or a worker's name
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    at: Mapped[datetime] = _created_column()
