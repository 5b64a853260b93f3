"""Store what planning found: a recording's timeline and chunks, and the passes that its requests still need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, exists, literal, or_, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, hold
from db.clock import database_now
from db.events import record_event
from db.finishing import start_finishes
from db.opening import Applies, lock_counts, open_missing
from db.statements import count_moved, insert_rows
from db.states import Identity, IfSeen, LinkState, RecordingState, RequestState
from db.tables import Chunk, Job, JobRecording, JobRequest, Recording, RecordingRequest
from db.types import new_id

SAMPLES_PER_MS = 16  # of the timeline, at 16 kHz


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
    content_sha256: str | None = None  # of the object's bytes


@dataclass(frozen=True)
class PlanStored:
    """What a plan led to: whether its facts were used, and what is ready now, by model, for doorbells."""

    used: bool
    understand: Mapping[str, int]
    finishes: int


@dataclass(frozen=True)
class PlanWork:
    """What a plan pass is about; ``recording`` is set where the job asks more of one that is known."""

    link_id: str
    uri: str
    channels: str
    if_seen: IfSeen
    identity: Identity = Identity.VERSION
    recording: Recording | None = None
    needs_timeline: bool = True


class TimelineDropped(Exception):
    """The timeline was dropped while its recording was being planned: the next attempt makes it again."""

    code = "timeline_dropped"
    retryable = True


class TimelineDiffers(Exception):
    """A timeline that was made again is not the one that was heard before."""

    code = "timeline_differs"
    retryable = False


def load_plan(session: Session, claim: Claim) -> PlanWork:
    """Read the source of a plan pass."""
    link, channels, if_seen, identity, retry_of, recording = session.execute(
        select(JobRecording, Job.channels, Job.if_seen, Job.identity, Job.retry_of, Recording)
        .join(Job, Job.id == JobRecording.job_id)
        .outerjoin(Recording, Recording.id == JobRecording.recording_id)
        .where(JobRecording.id == claim.job_recording_id, JobRecording.tenant == claim.tenant)
    ).one()
    if recording is None:
        return PlanWork(link.id, link.uri, channels, IfSeen(if_seen), Identity(identity))
    return PlanWork(
        link.id,
        link.uri,
        channels,
        IfSeen(if_seen),
        Identity(identity),
        recording,
        needs_timeline(session, claim.job_id, recording.id, retry_of),
    )


def needs_timeline(session: Session, job_id: str, recording_id: str, retry_of: str | None) -> bool:
    """Say whether a job has something left to hear of a recording, so that its timeline is needed."""
    complete = and_(
        RecordingRequest.state != RequestState.OPEN,
        or_(RecordingRequest.chunks_failed == 0, literal(retry_of is None)),
    )
    known = exists().where(
        RecordingRequest.recording_id == recording_id,
        RecordingRequest.request_id == JobRequest.request_id,
        complete,
    )
    return bool(session.scalar(select(exists().where(JobRequest.job_id == job_id, ~known))))


def complete_plan(
    session: Session, claim: Claim, recording_id: str, facts: PlanFacts | None, applies: Applies
) -> PlanStored:
    """Store the plan and open the passes that are missing.

    ``facts`` is None when the recording was planned before. When another job planned it meanwhile, theirs stays
    and the caller deletes the timeline that it wrote. Facts of a recording whose timeline was dropped only bring
    that back. Raises ``LeaseLost``, ``JobCancelled``, ``TimelineDropped`` and ``TimelineDiffers``.
    """
    claim = hold(session, claim)
    job = session.scalars(select(Job).where(Job.id == claim.job_id)).one()
    if job.retry_of is not None:
        lock_counts(session, recording_id, claim.job_id)
    recording = session.scalars(
        select(Recording).where(Recording.id == recording_id).with_for_update(key_share=True)
    ).one()
    planned = recording.state == RecordingState.PLANNED
    used = not planned or (recording.timeline_uri is None and facts is not None)
    if not planned:
        if facts is None:
            raise ValueError(f"recording {recording_id} has no plan yet")
        _store_facts(session, recording, facts)
    elif used and facts is not None:
        _restore_timeline(recording, facts)
    count_moved(
        session,
        update(JobRecording)
        .where(JobRecording.id == claim.job_recording_id, JobRecording.state == LinkState.QUEUED)
        .values(state=LinkState.UNDERSTANDING),
    )
    passes = open_missing(session, job, recording, applies)
    if passes:
        if recording.timeline_uri is None:
            raise TimelineDropped(f"the timeline of recording {recording_id} was dropped: it is made again")
        recording.timeline_used_at = session.scalars(select(database_now())).one()
        session.flush()
    record_event(
        session,
        "recording.planned",
        tenant=claim.tenant,
        job_id=claim.job_id,
        job_recording_id=claim.job_recording_id,
        actor=claim.worker,
        data={"recording_id": recording.id, "passes": sum(passes.values()), "reused": planned},
    )
    return PlanStored(used, passes, start_finishes(session, recording.id, actor=claim.worker))


def _restore_timeline(recording: Recording, facts: PlanFacts) -> None:
    if facts.timeline_sha256 != recording.timeline_sha256:
        raise TimelineDiffers(
            f"the timeline of recording {recording.id} was dropped, and decoding {recording.uri} again gives another "
            "one: submit it as a new recording (if_seen: redo)"
        )
    recording.timeline_uri = facts.timeline_uri


def _store_facts(session: Session, recording: Recording, facts: PlanFacts) -> None:
    for name in (
        "container", "codec", "sampling_rate", "source_channels", "channel_count", "duration_samples",
        "duration_ms", "declared_ms", "speech_ms", "truncated", "timeline_uri", "timeline_sha256", "content_sha256",
    ):  # fmt: skip
        setattr(recording, name, getattr(facts, name))
    recording.warnings = list(facts.warnings)
    recording.state = RecordingState.PLANNED
    recording.error_code = recording.error_message = None
    recording.chunk_count = len(facts.chunks)
    recording.planned_at = recording.timeline_used_at = session.scalars(select(database_now())).one()
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
                "start_ms": chunk.owned_start // SAMPLES_PER_MS,
                "end_ms": chunk.owned_end // SAMPLES_PER_MS,
            }
            for chunk in facts.chunks
        ],
    )
