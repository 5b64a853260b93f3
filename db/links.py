"""Add recordings to a job: a row for each and its ready plan pass, or none where the archive has it already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.fairness import insert_ready
from db.statements import insert_rows
from db.states import LinkState, PassKind, RecordingState, RequestState
from db.tables import Job, JobRecording, JobRequest, Recording, RecordingRequest
from db.types import new_id


@dataclass(frozen=True)
class NewLink:
    """One object that a job shall listen to, with what its source says of it."""

    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tracking: str | None = None
    version: str | None = None  # as listed
    size_bytes: int | None = None


def add_links(
    session: Session,
    job: Job,
    links: Sequence[NewLink],
    *,
    first_position: int,
    source_id: str | None = None,
    seen: Mapping[tuple[str, str], str] | None = None,
) -> int:
    """Store the links behind each other from ``first_position`` on; return how many plan passes became ready.

    ``seen`` maps (uri, version) to the recording of what the job shall skip: those links are final at once. The
    caller moves the job's counters.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for position, link in enumerate(links, first_position):
        row = _row(job, position, link, source_id)
        recording_id = (seen or {}).get((link.uri, link.version or ""))
        if recording_id is None:
            rows.append(row)
        else:
            skipped.append({**row, "state": LinkState.SKIPPED, "recording_id": recording_id})
    insert_rows(session, JobRecording, rows)
    if skipped:
        now = session.scalars(select(database_now())).one()
        insert_rows(session, JobRecording, [{**row, "finished_at": now} for row in skipped])
    insert_ready(session, [_plan_pass(row, job.priority) for row in rows])
    return len(rows)


def add_first_links(session: Session, jobs: Sequence[tuple[Job, Sequence[NewLink]]]) -> None:
    """Store the links of jobs that were made in this transaction, each with its ready plan pass."""
    rows = [
        (_row(job, position, link, None), job.priority)
        for job, links in jobs
        for position, link in enumerate(links)
    ]
    insert_rows(session, JobRecording, [row for row, _ in rows])
    insert_ready(session, [_plan_pass(row, priority) for row, priority in rows], jobs_are_new=True)


def _row(job: Job, position: int, link: NewLink, source_id: str | None) -> dict[str, Any]:
    return {
        "id": new_id(),
        "tenant": job.tenant,
        "job_id": job.id,
        "position": position,
        "uri": link.uri,
        "source_id": source_id,
        "client_metadata": dict(link.metadata),
        "tracking": link.tracking if link.tracking is not None else job.tracking,
        "version": link.version,
        "size_bytes": link.size_bytes,
    }


def _plan_pass(row: Mapping[str, Any], priority: int) -> dict[str, Any]:
    return {
        "tenant": row["tenant"],
        "kind": PassKind.PLAN,
        "job_id": row["job_id"],
        "job_recording_id": row["id"],
        "priority": priority,
    }


def find_known_uris(session: Session, job_id: str, uris: Iterable[str]) -> set[str]:
    """Return those of the URIs that the job has already: an object is heard once for a job, however often named."""
    return set(
        session.scalars(
            select(JobRecording.uri).where(JobRecording.job_id == job_id, JobRecording.uri.in_(list(uris)))
        )
    )


def find_seen(session: Session, job: Job, uris: Iterable[str]) -> dict[tuple[str, str], str]:
    """Return the recordings, by (uri, version), that have every finding that the job asks for, with nothing failed."""
    answered = (
        exists()
        .where(
            RecordingRequest.recording_id == Recording.id,
            RecordingRequest.request_id == JobRequest.request_id,
            RecordingRequest.state == RequestState.STITCHED,
            RecordingRequest.chunks_failed == 0,
        )
        .correlate(Recording, JobRequest)  # by itself it would mean any recording: it stands two levels down
    )
    unanswered = exists().where(JobRequest.job_id == job.id, ~answered)
    rows = session.execute(
        select(Recording.uri, Recording.version, Recording.id)
        .where(
            Recording.tenant == job.tenant,
            Recording.uri.in_(list(uris)),
            Recording.channels == job.channels,
            Recording.state == RecordingState.PLANNED,
            ~unanswered,
        )
        .order_by(Recording.generation)
    ).all()
    return {(uri, version): recording_id for uri, version, recording_id in rows}
