"""Start finish passes when all is heard, hand out what they stitch, and store what they found exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, literal, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, hold
from db.events import record_event
from db.fairness import insert_ready
from db.settling import Outcome, settle_recording
from db.statements import count_moved, insert_rows
from db.states import FINAL_JOB_STATES, LinkState, PassKind, PassState, RequestState
from db.tables import (
    Annotation,
    Chunk,
    Job,
    JobRecording,
    JobRequest,
    Pass,
    Recording,
    RecordingRequest,
    Request,
    Result,
    Segment,
    Summary,
)
from db.types import new_id


@dataclass(frozen=True)
class HeardRequest:
    """A request whose chunks were all heard and that nobody has stitched: its results by chunk id."""

    id: str
    task: str
    options: Mapping[str, Any]
    results: Mapping[str, Result]
    chunks_done: int


@dataclass(frozen=True)
class FinishWork:
    """What a finish pass stitches."""

    chunks: Sequence[Chunk]
    requests: Sequence[HeardRequest]


@dataclass(frozen=True)
class NewFindings:
    """The rows of one request, without ids: columns of ``segments``, ``annotations`` and ``summaries`` by name."""

    request_id: str
    segments: Sequence[Mapping[str, Any]]
    annotations: Sequence[Mapping[str, Any]]
    summary: Mapping[str, Any] | None = None
    chunks_done: int | None = None  # that were stitched: findings of fewer than are heard do not count


def start_finishes(session: Session, recording_id: str, *, actor: str) -> int:
    """Open a finish pass for every job that waits for this recording and has nothing left to hear; count them.

    The caller holds the recording's row lock.
    """
    started = [
        link
        for link in session.execute(_all_heard(recording_id)).all()
        if count_moved(
            session,
            update(JobRecording)
            .where(JobRecording.id == link.id, JobRecording.state == LinkState.UNDERSTANDING)
            .values(state=LinkState.FINISHING),
        )
    ]
    for link in started:
        record_event(
            session,
            "recording.finishing",
            tenant=link.tenant,
            job_id=link.job_id,
            job_recording_id=link.id,
            actor=actor,
        )
    insert_ready(
        session,
        [
            {
                "tenant": link.tenant,
                "kind": PassKind.FINISH,
                "job_id": link.job_id,
                "job_recording_id": link.id,
                "recording_id": recording_id,
                "priority": link.priority,
            }
            for link in started
        ],
    )
    return len(started)


def _all_heard(recording_id: str) -> Any:
    """Select the links of living jobs that have nothing left to hear of a recording."""
    still_open = exists().where(
        JobRequest.job_id == JobRecording.job_id,
        RecordingRequest.request_id == JobRequest.request_id,
        RecordingRequest.recording_id == recording_id,
        RecordingRequest.state == RequestState.OPEN,
    )
    return (
        select(JobRecording.id, JobRecording.job_id, JobRecording.tenant, Job.priority)
        .join(Job, Job.id == JobRecording.job_id)
        .where(
            JobRecording.recording_id == recording_id,
            JobRecording.state == LinkState.UNDERSTANDING,
            Job.state.not_in(FINAL_JOB_STATES),
            ~still_open,
        )
        .order_by(JobRecording.id)  # one order for everybody: no deadlock
    )


def load_finish(session: Session, claim: Claim) -> FinishWork:
    """Read the chunks and results of the requests that are heard and not stitched yet."""
    chunks = session.scalars(
        select(Chunk).where(Chunk.recording_id == claim.recording_id).order_by(Chunk.channel, Chunk.index)
    ).all()
    # The counts come first: what a retry hears while we read makes them old, and the findings are not stored.
    rows = session.execute(
        _requests_of(claim)
        .add_columns(RecordingRequest.chunks_done)
        .where(RecordingRequest.state == RequestState.HEARD)
        .order_by(JobRequest.position)
    ).all()
    requests = [row[0] for row in rows]
    results = session.scalars(
        select(Result).where(
            Result.recording_id == claim.recording_id, Result.request_id.in_([r.id for r in requests])
        )
    ).all()
    by_request: dict[str, dict[str, Result]] = {request.id: {} for request in requests}
    for result in results:
        by_request[result.request_id][result.chunk_id] = result
    heard = [HeardRequest(r.id, r.task, r.options, by_request[r.id], chunks_done) for r, chunks_done in rows]
    return FinishWork(chunks, heard)


def _requests_of(claim: Claim) -> Any:
    return (
        select(Request)
        .join(JobRequest, JobRequest.request_id == Request.id)
        .join(RecordingRequest, RecordingRequest.request_id == Request.id)
        .where(JobRequest.job_id == claim.job_id, RecordingRequest.recording_id == claim.recording_id)
    )


def complete_finish(session: Session, claim: Claim, findings: Sequence[NewFindings]) -> None:
    """Store the findings, close the recording for this job, and the job with its last recording.

    A request that another job's finish stitched meanwhile keeps those rows. Raises ``LeaseLost``, ``JobCancelled``.
    """
    claim = hold(session, claim, settles_recording=True)
    for found in sorted(findings, key=lambda found: found.request_id):
        moved = count_moved(
            session,
            update(RecordingRequest)
            .where(
                RecordingRequest.recording_id == claim.recording_id,
                RecordingRequest.request_id == found.request_id,
                RecordingRequest.state == RequestState.HEARD,
                literal(found.chunks_done is None)
                | (RecordingRequest.chunks_done == (found.chunks_done or 0)),
            )
            .values(state=RequestState.STITCHED),
        )
        if moved:
            _drop_findings(session, claim, found.request_id)
            insert_rows(session, Segment, _owned(claim, found.request_id, found.segments))
            insert_rows(session, Annotation, _owned(claim, found.request_id, found.annotations))
            if found.summary is not None:
                owner = {"tenant": claim.tenant, "recording_id": claim.recording_id}
                insert_rows(session, Summary, [{**owner, "request_id": found.request_id, **found.summary}])
    assert claim.job_recording_id is not None  # a finish pass is always of one recording of one job
    settle_recording(
        session, claim.job_id, claim.job_recording_id, _outcome(session, claim), actor=claim.worker
    )


def _drop_findings(session: Session, claim: Claim, request_id: str) -> None:
    """Remove what was stitched before a retry heard chunks that had failed; the new rows replace it at once."""
    for table in (Segment, Annotation, Summary):
        count_moved(
            session,
            delete(table).where(table.recording_id == claim.recording_id, table.request_id == request_id),
        )


def _owned(claim: Claim, request_id: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    owner = {"tenant": claim.tenant, "recording_id": claim.recording_id, "request_id": request_id}
    return [{"id": new_id(), **owner, **row} for row in rows]


def _outcome(session: Session, claim: Claim) -> Outcome:
    counts = session.execute(
        _requests_of(claim).with_only_columns(RecordingRequest.chunks_done, RecordingRequest.chunks_total)
    ).all()
    done = sum(row.chunks_done for row in counts)
    # Not ``chunks_failed``: another job's retry may have opened a failed pair again, which has no answer for all that.
    failed = sum(row.chunks_total for row in counts) - done
    if failed:
        reason = session.execute(
            select(Pass.error_code, Pass.error_message)
            .where(
                Pass.recording_id == claim.recording_id,
                Pass.kind == PassKind.UNDERSTAND,
                Pass.state == PassState.FAILED,
            )
            .order_by(Pass.id.desc())
            .limit(1)
        ).first()
        detail = f": {reason.error_code}, {reason.error_message}" if reason else ""
        message = f"{failed} of {failed + done} chunk requests failed{detail}"
        return Outcome(LinkState.PARTIAL if done else LinkState.FAILED, "chunks_failed", message)
    recording = session.scalars(select(Recording).where(Recording.id == claim.recording_id)).one()
    if recording.truncated:
        says = [
            text
            for code, _, text in (one.partition(": ") for one in recording.warnings)
            if code == "truncated"
        ]
        return Outcome(LinkState.PARTIAL, "truncated", "; ".join(says))
    return Outcome(LinkState.SUCCEEDED)
