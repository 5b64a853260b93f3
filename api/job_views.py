"""Show jobs and their recordings to clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from api.recording_views import ErrorView, RecordingView, show_error, show_recording
from api.webhook_views import JobWebhook
from db.queries import Progress
from db.states import Identity, IfSeen, JobState, LinkState, SourceKind, SourceState
from db.tables import Job, JobRecording, JobSource, Recording, Request, SourceError


class Counts(BaseModel):
    """How many recordings of a job are where."""

    total: int = Field(description="All recordings of the job.", examples=[3])
    succeeded: int = Field(description="Complete ones.", examples=[1])
    partial: int = Field(description="Finished ones with something missing: see their errors and warnings.")
    failed: int = Field(description="Ones that gave nothing: see their errors.")
    skipped: int = Field(description="Ones that the archive had already, and the job said to leave.")
    cancelled: int = Field(description="Ones that were cancelled.")
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
    tracking: str | None = Field(description="The client's own id.", examples=["order-12"])
    if_seen: IfSeen = Field(
        description="What it does with objects that the archive has: skip, reuse or redo."
    )
    identity: Identity = Field(
        description="What it takes for the same object as one that is there: version or content."
    )
    sources_open: int = Field(description="Prefixes and manifests that still bring recordings.", examples=[0])
    webhook_id: str | None = Field(description="The webhook that it named: see /v1/webhooks.")
    recordings: Counts = Field(description="Its recordings, counted.")
    created_at: datetime = Field(description="When it was accepted.")
    started_at: datetime | None = Field(description="When the first work on it began.")
    finished_at: datetime | None = Field(description="When its last recording was finished.")
    retry_of: str | None = Field(description="The job whose failed recordings this one tries again.")
    expires_at: datetime | None = Field(description="When it is deleted; null: it stays.")


class SourceView(BaseModel):
    """A prefix or a manifest of a job, and what came of it."""

    id: str = Field(description="Id of the source; see /v1/jobs/{job_id}/sources/{source_id}/errors.")
    kind: SourceKind = Field(description="prefix or manifest.")
    uri: str = Field(description="The prefix, or where the manifest lies.", examples=["s3://archive/1999/"])
    glob: str | None = Field(description="Which objects below the prefix.", examples=["**/*.wav"])
    state: SourceState = Field(description="expanding, then expanded, failed or cancelled.")
    seen: int = Field(description="Objects, or lines, that were looked at.", examples=[4])
    taken: int = Field(description="Those that became recordings of the job.", examples=[3])
    skipped: int = Field(
        description="Those that are no audio by their names, or do not fit the glob.", examples=[1]
    )
    lines_bad: int = Field(description="Lines of the manifest that could not be taken.", examples=[0])
    error: ErrorView | None = Field(description="Why it failed; what it had brought before stays.")


class SourceErrorView(BaseModel):
    """A line of a manifest that could not be taken."""

    line: int = Field(description="The line's number, from 1.", examples=[17])
    code: str = Field(description="A stable code.", examples=["invalid_uri"])
    message: str = Field(description="What is wrong with it.")


class JobDetail(JobSummary):
    """A job with what it asked and how far it is."""

    error: ErrorView | None = Field(description="Why there is nothing to hear, when a source failed.")
    sources: list[SourceView] = Field(description="Its prefixes and manifests.")
    requests: list[RequestView] = Field(description="What the job asked, in its order.")
    progress: ProgressView = Field(description="How far it is.")
    warnings: list[str] = Field(
        description="What it waits for, such as a model that no worker serves (`no_worker: ...`) "
        "or that is being loaded (`worker_loads: ...`)."
    )


class AcceptedJob(JobDetail):
    """A job that was just accepted."""

    webhook: JobWebhook | None = Field(description="The webhook that it named, with its secret if it is new.")


class JobRecordingView(BaseModel):
    """One source of a job."""

    position: int = Field(description="Its place in the job's sources, from 0.")
    uri: str = Field(
        description="The source as it was submitted.", examples=["s3://archive/1998/tape-17.flac"]
    )
    state: LinkState = Field(
        description="queued, understanding, finishing, then succeeded, partial, failed, skipped or cancelled."
    )
    tracking: str | None = Field(description="The client's own id, of the object or of the job.")
    metadata: dict[str, Any] = Field(description="The client's notes on this object.")
    source_id: str | None = Field(description="The prefix or manifest that brought it.")
    error: ErrorView | None = Field(description="Why it failed or is partial.")
    finished_at: datetime | None = Field(description="When it was finished.")
    recording: RecordingView | None = Field(description="What it is; null until the object has been found.")


def summarise_job(job: Job) -> JobSummary:
    """Show a job in a list."""
    return JobSummary(**_summary(job))


def show_job(
    job: Job,
    requests: Sequence[Request],
    progress: Progress,
    sources: Sequence[JobSource] = (),
    warnings: Sequence[str] = (),
) -> JobDetail:
    """Show a job in full."""
    asked = [RequestView(id=r.id, task=r.task, options=r.options, model=r.model) for r in requests]
    far = ProgressView(
        audio_seconds_total=progress.audio_seconds_total,
        audio_seconds_done=progress.audio_seconds_done,
        recordings_planned=progress.recordings_planned,
    )
    shown = [show_source(source) for source in sources]
    nothing = job.state == JobState.FAILED and job.recordings_total == 0
    error = next((source.error for source in shown if source.error), None) if nothing else None
    return JobDetail(
        **_summary(job), error=error, sources=shown, requests=asked, progress=far, warnings=list(warnings)
    )


def show_source(source: JobSource) -> SourceView:
    """Show a prefix or manifest."""
    return SourceView(
        id=source.id,
        kind=SourceKind(source.kind),
        uri=source.uri,
        glob=source.glob,
        state=SourceState(source.state),
        seen=source.objects_seen,
        taken=source.objects_taken,
        skipped=source.objects_skipped,
        lines_bad=source.lines_bad,
        error=show_error(source),
    )


def show_source_error(row: SourceError) -> SourceErrorView:
    """Show a line of a manifest that could not be taken."""
    return SourceErrorView(line=row.line, code=row.code, message=row.message)


def show_job_recording(row: tuple[JobRecording, Recording | None]) -> JobRecordingView:
    """Show one source of a job."""
    link, recording = row
    return JobRecordingView(
        position=link.position,
        uri=link.uri,
        state=LinkState(link.state),
        tracking=link.tracking,
        metadata=link.client_metadata,
        source_id=link.source_id,
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
        "tracking": job.tracking,
        "if_seen": job.if_seen,
        "identity": job.identity,
        "sources_open": job.sources_open,
        "webhook_id": job.webhook_id,
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
