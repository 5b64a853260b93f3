"""Open the understand passes that a job still needs of a planned recording: one for each chunk and model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.fairness import insert_ready
from db.pairs import Pair, load_pairs
from db.statements import count_moved, insert_missing
from db.states import PassKind, RequestState
from db.tables import Chunk, Job, JobRequest, Recording, RecordingRequest, Request

Applies = Callable[[str, Mapping[str, Any], int], bool]
"""(task, options, speech samples of the chunk) -> whether the task has something to hear there."""


def open_missing(session: Session, job: Job, recording: Recording, applies: Applies) -> Mapping[str, int]:
    """Open what nobody works on yet of what the job asks of a recording; count the passes by model.

    Pairs that failed before stay so, unless the job is a retry: then they are heard again and their requests are
    open once more. The caller holds the recording's row lock, and for a retry before that ``lock_counts``.
    """
    requests = session.scalars(
        select(Request)
        .join(JobRequest, JobRequest.request_id == Request.id)
        .where(JobRequest.job_id == job.id)
        .order_by(JobRequest.position)
    ).all()
    chunks = session.execute(  # a recording of 100 hours has 12,000: no more of them than is needed
        select(Chunk.id, Chunk.speech_samples)
        .where(Chunk.recording_id == recording.id)
        .order_by(Chunk.index, Chunk.channel)
    ).all()
    wanted: list[Pair] = []
    asked_before: dict[str, list[Pair]] = {}
    for request in requests:
        heard = [
            (chunk.id, request.id)
            for chunk in chunks
            if applies(request.task, request.options, chunk.speech_samples)
        ]
        if _open_request(session, recording, request.id, heard=len(heard), skipped=len(chunks) - len(heard)):
            wanted += heard
        else:
            asked_before[request.id] = heard
    wanted += _left_over(session, recording.id, asked_before, retry=job.retry_of is not None)
    models = {request.id: request.model for request in requests}
    return _insert_passes(session, job, recording, wanted, models, [chunk.id for chunk in chunks])


def lock_counts(session: Session, recording_id: str, job_id: str) -> None:
    """Lock the counts of what a job asks of a recording, in everybody's order: before the recording itself."""
    session.execute(
        select(RecordingRequest.request_id)
        .join(JobRequest, JobRequest.request_id == RecordingRequest.request_id)
        .where(RecordingRequest.recording_id == recording_id, JobRequest.job_id == job_id)
        .order_by(RecordingRequest.request_id)
        .with_for_update(of=RecordingRequest)
    ).all()


def _left_over(
    session: Session, recording_id: str, pairs_by_request: Mapping[str, Sequence[Pair]], *, retry: bool
) -> list[Pair]:
    """Return the pairs of known requests that nobody works on, as after a cancel, and for a retry the failed ones."""
    counts = session.execute(
        select(RecordingRequest.request_id, RecordingRequest.state, RecordingRequest.chunks_failed).where(
            RecordingRequest.recording_id == recording_id, RecordingRequest.request_id.in_(pairs_by_request)
        )
    ).all()
    unsure = [
        row.request_id for row in counts if row.state == RequestState.OPEN or (retry and row.chunks_failed)
    ]
    if not unsure:
        return []
    standing = load_pairs(session, recording_id, unsure)
    found: list[Pair] = []
    for request_id in sorted(unsure):
        pairs = pairs_by_request[request_id]
        found += standing.missing(pairs)
        again = [pair for pair in pairs if pair in standing.failed] if retry else []
        if again:
            _open_again(session, recording_id, request_id, len(again))
            found += again
    return found


def _open_again(session: Session, recording_id: str, request_id: str, failed: int) -> None:
    count_moved(
        session,
        update(RecordingRequest)
        .where(RecordingRequest.recording_id == recording_id, RecordingRequest.request_id == request_id)
        .values(state=RequestState.OPEN, chunks_failed=RecordingRequest.chunks_failed - failed),
    )


def _open_request(
    session: Session, recording: Recording, request_id: str, *, heard: int, skipped: int
) -> bool:
    return insert_missing(
        session,
        RecordingRequest,
        {
            "recording_id": recording.id,
            "request_id": request_id,
            "tenant": recording.tenant,
            "state": RequestState.OPEN if heard else RequestState.HEARD,
            "chunks_total": heard,
            "chunks_skipped": skipped,
        },
    )


def _insert_passes(
    session: Session,
    job: Job,
    recording: Recording,
    pairs: Sequence[Pair],
    models: Mapping[str, str],
    chunk_order: Sequence[str],
) -> Mapping[str, int]:
    wanted: dict[tuple[str, str], list[str]] = {}  # (chunk, model) -> requests
    for chunk_id, request_id in pairs:
        wanted.setdefault((chunk_id, models[request_id]), []).append(request_id)
    place = {chunk_id: number for number, chunk_id in enumerate(chunk_order)}
    ordered = sorted(wanted.items(), key=lambda item: place[item[0][0]])
    insert_ready(
        session,
        [
            {
                "tenant": job.tenant,
                "kind": PassKind.UNDERSTAND,
                "model": model,
                "job_id": job.id,
                "recording_id": recording.id,
                "chunk_id": chunk_id,
                "request_ids": request_ids,
                "priority": job.priority,
            }
            for (chunk_id, model), request_ids in ordered
        ],
    )
    return Counter(model for _, model in wanted)
