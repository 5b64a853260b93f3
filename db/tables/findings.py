"""Declare what was heard: raw results, and the segments, annotations and summaries that are stitched from them."""

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
)
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import OfTenant, Table, created_column, id_column, tenant_column


class Result(OfTenant, Table):
    """The answer to one request for one chunk; unique, whatever was run twice."""

    __tablename__ = "results"
    __table_args__ = (
        UniqueConstraint("chunk_id", "request_id"),
        Index(None, "recording_id", "request_id"),
        Index(None, "pass_id"),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
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
    created_at: Mapped[datetime] = created_column()


class Segment(OfTenant, Table):
    """An utterance of a transcript."""

    __tablename__ = "segments"
    __table_args__ = (
        UniqueConstraint("recording_id", "request_id", "index"),
        Index(None, "recording_id", "start_ms"),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
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
    # [{word, start_ms, end_ms, start_sample, end_sample, confidence}]
    words: Mapped[list[Any]] = mapped_column(default=list)
    avg_logprob: Mapped[float | None]
    compression_ratio: Mapped[float | None]
    no_speech_prob: Mapped[float | None]
    flags: Mapped[list[str]] = mapped_column(default=list)
    created_at: Mapped[datetime] = created_column()


class Annotation(OfTenant, Table):
    """Anything else that was found on the timeline: a caption, an emotion."""

    __tablename__ = "annotations"
    __table_args__ = (
        UniqueConstraint("recording_id", "request_id", "index"),
        Index(None, "recording_id", "task", "start_ms"),
        Index(None, "tenant", "task", "label"),
    )

    id: Mapped[str] = id_column()
    tenant: Mapped[str] = tenant_column()
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
    created_at: Mapped[datetime] = created_column()


class Summary(OfTenant, Table):
    """What one request found, said of the whole recording."""

    __tablename__ = "summaries"
    __table_args__ = (Index(None, "tenant", "task", "label"),)

    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    tenant: Mapped[str] = tenant_column()
    task: Mapped[str] = mapped_column(String(32))
    label: Mapped[str | None] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    confidence: Mapped[float | None]  # the share of the votes for the label
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[datetime] = created_column()
