"""Show recordings, segments and annotations to clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from db.states import RecordingState
from db.tables import Annotation, JobRecording, JobSource, Recording, Request, Segment, Summary


class ErrorView(BaseModel):
    """Why something failed."""

    code: str = Field(description="The kind of error for programs; stable.", examples=["input_not_found"])
    message: str = Field(
        description="What happened.", examples=["s3://archive/1998/tape-17.flac: no such key"]
    )


class RecordingView(BaseModel):
    """One audio object in one version."""

    id: str = Field(description="Id of the recording.")
    uri: str = Field(
        description="Where it lies, as it was submitted.", examples=["s3://archive/1998/tape-17.flac"]
    )
    version: str = Field(
        description="What the store calls this version: an ETag, or a file's size and times."
    )
    channels: str = Field(description="mix or split.", examples=["mix"])
    state: RecordingState = Field(description="new, planned (decoded and cut) or invalid (see its error).")
    error: ErrorView | None = Field(description="Why it cannot be decoded.")
    size_bytes: int = Field(description="Size of the object in bytes.")
    container: str | None = Field(description="Its container format.", examples=["flac"])
    codec: str | None = Field(description="Its audio codec.", examples=["flac"])
    sampling_rate: int | None = Field(description="Its own sampling rate in Hz.", examples=[44100])
    source_channels: int | None = Field(description="How many channels it has.", examples=[2])
    channel_count: int | None = Field(description="How many were heard: 1, or 2 when split.", examples=[1])
    duration_ms: int | None = Field(description="Decoded length in milliseconds.", examples=[184230])
    declared_ms: int | None = Field(description="Length in its header, in milliseconds.", examples=[184231])
    speech_ms: int | None = Field(description="Speech in it, in milliseconds, over all channels.")
    truncated: bool = Field(description="Whether far less was decoded than the header declared.")
    chunk_count: int | None = Field(description="Pieces of at most 30 s that it was cut into.", examples=[7])
    timeline_sha256: str | None = Field(description="SHA-256 of the decoded samples, 16 kHz int16.")
    warnings: list[str] = Field(description="What a reader should know about it.")
    created_at: datetime = Field(description="When it was found.")
    planned_at: datetime | None = Field(description="When it had been decoded and cut.")


class WordView(BaseModel):
    """One word and its time."""

    word: str = Field(description="The word.", examples=["hello"])
    start_ms: int = Field(description="Its start in milliseconds of the recording.", examples=[1230])
    end_ms: int = Field(description="Its end.", examples=[1610])
    start_sample: int = Field(description="Its start in samples at 16 kHz.", examples=[19680])
    end_sample: int = Field(description="Its end in samples.", examples=[25760])
    confidence: float | None = Field(
        None, description="The model's mean probability of the word and its end stamp.", examples=[0.97]
    )


class SegmentView(BaseModel):
    """An utterance of the transcript."""

    id: str = Field(description="Id of the segment.")
    recording_id: str = Field(description="Its recording.")
    request_id: str = Field(description="The request that found it.")
    index: int = Field(description="Its place among the request's segments, from 0.")
    channel: int = Field(description="The channel it was heard on, from 0.")
    start_ms: int = Field(description="Its start in milliseconds of the recording.", examples=[1230])
    end_ms: int = Field(description="Its end.", examples=[4120])
    start_sample: int = Field(description="Its start in samples at 16 kHz.", examples=[19680])
    end_sample: int = Field(description="Its end in samples.", examples=[65920])
    text: str = Field(description="What was said.", examples=["Hello, who is calling?"])
    language: str | None = Field(description="Its language.", examples=["en"])
    words: list[WordView] = Field(description="Its words, when word times were asked for.")
    avg_logprob: float | None = Field(
        description="Mean log-probability of the tokens of the answer it comes from.", examples=[-0.31]
    )
    compression_ratio: float | None = Field(
        description="How much smaller zlib makes its text; above 2.4 it repeats itself.", examples=[1.4]
    )
    no_speech_prob: float | None = Field(
        description="How likely the model finds silence where the transcript begins.", examples=[0.02]
    )
    flags: list[str] = Field(description="What a reader should know, such as `cut_by_limit` or `loop`.")


class AnnotationView(BaseModel):
    """Something else that was found: a caption, an emotion."""

    id: str = Field(description="Id of the annotation.")
    recording_id: str = Field(description="Its recording.")
    request_id: str = Field(description="The request that found it.")
    index: int = Field(description="Its place among the request's annotations, from 0.")
    task: str = Field(description="The task that found it.", examples=["emotion"])
    channel: int = Field(description="The channel it was heard on, from 0.")
    start_ms: int = Field(description="Its start in milliseconds of the recording.", examples=[0])
    end_ms: int = Field(description="Its end.", examples=[28400])
    start_sample: int = Field(description="Its start in samples at 16 kHz.", examples=[0])
    end_sample: int = Field(description="Its end in samples.", examples=[454400])
    label: str | None = Field(description="A short label to group by.", examples=["neutral"])
    text: str | None = Field(description="What the model said.", examples=["neutral"])
    data: dict[str, Any] = Field(description="Further facts, by task.")
    flags: list[str] = Field(description="What a reader should know.")


class SummaryView(BaseModel):
    """What one request found, said of the whole recording."""

    request_id: str = Field(description="The request.")
    task: str = Field(description="Its task.", examples=["emotion"])
    options: dict[str, Any] = Field(description="Its options, complete.")
    label: str | None = Field(description="What holds for most of it.", examples=["neutral"])
    text: str | None = Field(description="The same for reading.", examples=["neutral"])
    confidence: float | None = Field(description="The share of the votes for the label.", examples=[0.83])
    data: dict[str, Any] = Field(description="All votes, or further facts, by task.")


def show_error(row: JobRecording | JobSource | Recording) -> ErrorView | None:
    """Show a row's error, if it has one."""
    if row.error_code is None:
        return None
    return ErrorView(code=row.error_code, message=row.error_message or "")


def show_recording(recording: Recording) -> RecordingView:
    """Show a recording; where its timeline lies is our own affair."""
    facts = {name: getattr(recording, name) for name in RecordingView.model_fields if name != "error"}
    return RecordingView(**facts, error=show_error(recording))


def show_segment(segment: Segment) -> SegmentView:
    """Show a segment."""
    return SegmentView.model_validate(segment, from_attributes=True)


def show_annotation(annotation: Annotation) -> AnnotationView:
    """Show an annotation."""
    return AnnotationView.model_validate(annotation, from_attributes=True)


def show_summary(row: tuple[Summary, Request]) -> SummaryView:
    """Show a summary with what was asked."""
    summary, request = row
    facts = {name: getattr(summary, name) for name in SummaryView.model_fields if name not in ("options",)}
    return SummaryView(**facts, options=request.options)
