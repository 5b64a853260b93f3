"""Show jobs and their recordings to clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from api.recording_views import ErrorView, RecordingView, show_error, show_recording
from db.queries import Progress
from db.states import JobState, LinkState
from db.tables import Job, JobRecording, Recording, Request


class Counts(BaseModel):
    """How many recordings of a job are where."""

    total: int = Field(description="All recordings of the job.", examples=[3])
    succeeded: int = Field(description="Complete ones.", examples=[1])
    partial: int = Field(description="Finished ones with something missing: see their errors and warnings.")
    failed: int = Field(description="Ones that gave nothing: see their errors.")
    skipped: int = Field(description="Ones that the archive had already, of a job that leaves such.")
    cancelled: int = Field(description="Ones that a cancel cut off.")
    pending: int = Field(description="Ones that are waiting or under way.", examples=[2])


class ProgressView(BaseModel):
    """How far a job is, in seconds of audio."""

    audio_seconds_total: float = Field(
        description="Length of the recordings that have been measured; grows while others wait.",
        examples=[184.2],
    )
    audio_seconds_done: float = Field(description="How much of it is done.", examples=[92.1])
    recordings_planned: int = Field(description="Recordings that have been measured.", examples=[2])


class RequestView(BaseModel):
    """One task with its options, as the job asked for it."""

    id: str = Field(description="Id of the request; findings carry it. Jobs that ask the same share it.")
    task: str = Field(description="The task.", examples=["transcribe"])
    options: dict[str, Any] = Field(description="Its options, complete.", examples=[{"timestamps": "word"}])
    model: str = Field(description="The model that answers.", examples=["mini"])


class JobSummary(BaseModel):
    """A job in a list."""

    id: str = Field(description="Id of the job.", examples=["0198f0a1-7c5e-7000-8000-000000000001"])
    state: JobState = Field(description="queued, running, then succeeded, partial, failed or cancelled.")
    channels: str = Field(description="mix or split.", examples=["mix"])
    priority: int = Field(description="A higher one runs sooner.", examples=[0])
    metadata: dict[str, Any] = Field(description="The client's notes.")
    recordings: Counts = Field(description="Its recordings, counted.")
    created_at: datetime = Field(description="When it was accepted.")
    started_at: datetime | None = Field(description="When the first work on it began.")
    finished_at: datetime | None = Field(description="When its last recording was finished.")
    retry_of: str | None = Field(description="The job whose failed recordings this one tries again.")
    expires_at: datetime | None = Field(description="When it is deleted; null: it stays.")


class JobDetail(JobSummary):
    """A job with what it asked and how far it is."""

    requests: list[RequestView] = Field(description="What the job asked, in its order.")
    progress: ProgressView = Field(description="How far it is.")


class JobRecordingView(BaseModel):
    """One source of a job."""

    position: int = Field(description="Its place in the job's sources, from 0.")
    uri: str = Field(
        description="The source as it was submitted.", examples=["s3://archive/1998/tape-17.flac"]
    )
    state: LinkState = Field(
        description="queued, understanding, finishing, then succeeded, partial, failed, cancelled or skipped."
    )
    error: ErrorView | None = Field(description="Why it failed or is partial.")
    finished_at: datetime | None = Field(description="When it was finished.")
    recording: RecordingView | None = Field(description="What it is; null until the object has been found.")


def summarise_job(job: Job) -> JobSummary:
    """Show a job in a list."""
    return JobSummary(**_summary(job))


def show_job(job: Job, requests: Sequence[Request], progress: Progress) -> JobDetail:
    """Show a job in full."""
    asked = [RequestView(id=r.id, task=r.task, options=r.options, model=r.model) for r in requests]
    far = ProgressView(
        audio_seconds_total=progress.audio_seconds_total,
        audio_seconds_done=progress.audio_seconds_done,
        recordings_planned=progress.recordings_planned,
    )
    return JobDetail(**_summary(job), requests=asked, progress=far)


def show_job_recording(row: tuple[JobRecording, Recording | None]) -> JobRecordingView:
    """Show one source of a job."""
    link, recording = row
    return JobRecordingView(
        position=link.position,
        uri=link.uri,
        state=LinkState(link.state),
        error=show_error(link),
        finished_at=link.finished_at,
        recording=None if recording is None else show_recording(recording),
    )


def _summary(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "channels": job.channels,
        "priority": job.priority,
        "metadata": job.client_metadata,
        "recordings": Counts(
            total=job.recordings_total,
            succeeded=job.recordings_done - job.recordings_partial,
            partial=job.recordings_partial,
            failed=job.recordings_failed,
            skipped=job.recordings_skipped,
            cancelled=job.recordings_cancelled,
            pending=job.recordings_total
            - job.recordings_done
            - job.recordings_failed
            - job.recordings_skipped
            - job.recordings_cancelled,
        ),
        "created_at": job.created_at,
        "started_at": job.started_at,
        "finished_at": job.finished_at,
        "retry_of": job.retry_of,
        "expires_at": job.expires_at,
    }
