"""Store what planning found: the recording, its timeline and chunks, and the passes that its requests still need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.claims import Claim, hold
from db.clock import database_now
from db.events import record_event
from db.finishing import start_finishes
from db.statements import count_moved, insert_missing, insert_rows
from db.states import LinkState, PassKind, RecordingState, RequestState
from db.tables import Chunk, Job, JobRecording, JobRequest, Pass, Recording, RecordingRequest, Request
from db.types import new_id

Applies = Callable[[str, Mapping[str, Any], int], bool]
"""(task, options, speech samples of the chunk) -> whether the task has something to hear there."""


@dataclass(frozen=True)
class NewChunk:
    """One chunk's place, in samples of the timeline."""

    channel: int
    index: int
    owned_start: int
    owned_end: int
    heard_start: int
    heard_end: int
    speech: Sequence[tuple[int, int]]

    @property
    def speech_samples(self) -> int:
        """How many samples of the chunk are speech."""
        return sum(end - start for start, end in self.speech)


@dataclass(frozen=True)
class PlanFacts:
    """What decoding a recording yielded."""

    container: str
    codec: str
    sampling_rate: int  # of the source, Hz
    source_channels: int
    channel_count: int  # of the timeline
    duration_samples: int
    duration_ms: int
    declared_ms: int | None
    speech_ms: int
    truncated: bool
    timeline_uri: str
    timeline_sha256: str
    warnings: Sequence[str]
    chunks: Sequence[NewChunk]


@dataclass(frozen=True)
class PlanStored:
    """What a plan led to: whether its facts were used, and what is ready now, by model, for doorbells."""

    used: bool
    understand: Mapping[str, int]
    finishes: int


@dataclass(frozen=True)
class PlanWork:
    """What a plan pass is about."""

    link_id: str
    uri: str
    channels: str


def load_plan(session: Session, claim: Claim) -> PlanWork:
    """Read the source of a plan pass."""
    link, channels = session.execute(
        select(JobRecording, Job.channels)
        .join(Job, Job.id == JobRecording.job_id)
        .where(JobRecording.id == claim.job_recording_id, JobRecording.tenant == claim.tenant)
    ).one()
    return PlanWork(link.id, link.uri, channels)


def register_recording(
    session: Session, claim: Claim, work: PlanWork, version: str, size_bytes: int
) -> Recording:
    """Return the recording of this object version, new or known, and link the job's source to it."""
    identity = {
        "tenant": claim.tenant,
        "uri": work.uri,
        "version": version,
        "channels": work.channels,
    }
    insert_missing(session, Recording, {"id": new_id(), "size_bytes": size_bytes, **identity})
    recording = session.scalars(select(Recording).filter_by(**identity)).one()
    count_moved(
        session,
        update(JobRecording).where(JobRecording.id == work.link_id).values(recording_id=recording.id),
    )
    return recording


def complete_plan(
    session: Session, claim: Claim, recording_id: str, facts: PlanFacts | None, applies: Applies
) -> PlanStored:
    """Store the plan and open the passes that are missing.

    ``facts`` is None when the recording was planned before. When another job planned it meanwhile, theirs stays
    and the caller deletes the timeline that it wrote. Raises ``LeaseLost`` and ``JobCancelled``.
    """
    hold(session, claim)
    recording = session.scalars(
        select(Recording).where(Recording.id == recording_id).with_for_update(key_share=True)
    ).one()
    used = recording.state != RecordingState.PLANNED
    if used:
        if facts is None:
            raise ValueError(f"recording {recording_id} has no plan yet")
        _store_facts(session, recording, facts)
    count_moved(
        session,
        update(JobRecording)
        .where(JobRecording.id == claim.job_recording_id, JobRecording.state == LinkState.QUEUED)
        .values(state=LinkState.UNDERSTANDING),
    )
    passes = _open_requests(session, claim, recording, applies)
    record_event(
        session,
        "recording.planned",
        tenant=claim.tenant,
        job_id=claim.job_id,
        job_recording_id=claim.job_recording_id,
        actor=claim.worker,
        data={"recording_id": recording.id, "passes": sum(passes.values()), "reused": not used},
    )
    return PlanStored(used, passes, start_finishes(session, recording.id))


def _store_facts(session: Session, recording: Recording, facts: PlanFacts) -> None:
    for name in (
        "container", "codec", "sampling_rate", "source_channels", "channel_count", "duration_samples",
        "duration_ms", "declared_ms", "speech_ms", "truncated", "timeline_uri", "timeline_sha256",
    ):  # fmt: skip
        setattr(recording, name, getattr(facts, name))
    recording.warnings = list(facts.warnings)
    recording.state = RecordingState.PLANNED
    recording.error_code = recording.error_message = None
    recording.chunk_count = len(facts.chunks)
    recording.planned_at = session.scalars(select(database_now())).one()
    session.flush()
    insert_rows(
        session,
        Chunk,
        [
            {
                **vars(chunk),
                "speech": [list(span) for span in chunk.speech],
                "speech_samples": chunk.speech_samples,
                "id": new_id(),
                "tenant": recording.tenant,
                "recording_id": recording.id,
                "start_ms": chunk.owned_start // 16,
                "end_ms": chunk.owned_end // 16,
            }
            for chunk in facts.chunks
        ],
    )


def _open_requests(
    session: Session, claim: Claim, recording: Recording, applies: Applies
) -> Mapping[str, int]:
    """Open what nobody has asked of this recording yet, one pass for each chunk and model; count them by model."""
    requests = session.scalars(
        select(Request)
        .join(JobRequest, JobRequest.request_id == Request.id)
        .where(JobRequest.job_id == claim.job_id)
        .order_by(JobRequest.position)
    ).all()
    chunks = session.scalars(
        select(Chunk).where(Chunk.recording_id == recording.id).order_by(Chunk.index, Chunk.channel)
    ).all()
    wanted: dict[tuple[str, str], list[str]] = {}  # (chunk, model) -> requests
    for request in requests:
        heard = [chunk.id for chunk in chunks if applies(request.task, request.options, chunk.speech_samples)]
        if _open_request(session, recording, request, heard=len(heard), skipped=len(chunks) - len(heard)):
            for chunk_id in heard:
                wanted.setdefault((chunk_id, request.model), []).append(request.id)
    priority = session.scalars(select(Job.priority).where(Job.id == claim.job_id)).one()
    insert_rows(
        session,
        Pass,
        [
            {
                "id": new_id(),
                "tenant": claim.tenant,
                "kind": PassKind.UNDERSTAND,
                "model": model,
                "job_id": claim.job_id,
                "recording_id": recording.id,
                "chunk_id": chunk_id,
                "request_ids": request_ids,
                "priority": priority,
            }
            for (chunk_id, model), request_ids in wanted.items()
        ],
    )
    return Counter(model for _, model in wanted)


def _open_request(
    session: Session, recording: Recording, request: Request, *, heard: int, skipped: int
) -> bool:
    return insert_missing(
        session,
        RecordingRequest,
        {
            "recording_id": recording.id,
            "request_id": request.id,
            "tenant": recording.tenant,
            "state": RequestState.OPEN if heard else RequestState.HEARD,
            "chunks_total": heard,
            "chunks_skipped": skipped,
        },
    )
