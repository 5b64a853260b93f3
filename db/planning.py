"""Store what planning found: the recording, its timeline and chunks, and the passes that its requests still need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, exists, literal, or_, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, LeaseLost, hold
from db.clock import database_now
from db.events import record_event
from db.finishing import start_finishes
from db.links import find_seen
from db.opening import Applies, lock_counts, open_missing
from db.settling import Outcome, settle_recording
from db.statements import count_moved, insert_missing, insert_rows
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


def register_recording(
    session: Session, claim: Claim, work: PlanWork, version: str, size_bytes: int
) -> Recording:
    """Return the recording of this object version, new or known, and link the job's source to it.

    A job that hears everything again gets a recording of its own, once: a later attempt finds it linked already.
    Raises ``LeaseLost``.
    """
    identity = {
        "tenant": claim.tenant,
        "uri": work.uri,
        "version": version,
        "channels": work.channels,
    }
    known = select(Recording).filter_by(**identity).order_by(Recording.generation.desc()).limit(1)
    if work.if_seen == IfSeen.REDO:
        linked = select(JobRecording.recording_id).where(JobRecording.id == work.link_id).scalar_subquery()
        if (mine := session.scalars(known.where(Recording.id == linked)).first()) is not None:
            return mine
    newest = session.scalars(known).first()
    generation = 0 if newest is None else newest.generation
    if work.if_seen == IfSeen.REDO and newest is not None and newest.state == RecordingState.PLANNED:
        generation += 1
    row = {"id": new_id(), "size_bytes": size_bytes, "generation": generation, **identity}
    insert_missing(session, Recording, row)
    recording = session.scalars(known.execution_options(populate_existing=True)).one()
    _link(session, work, recording)
    return recording


def _link(session: Session, work: PlanWork, recording: Recording) -> None:
    """Say which recording the job's source is; raises ``LeaseLost`` when the job was deleted meanwhile.

    Else it would leave a recording that nobody links to.
    """
    linked = update(JobRecording).where(JobRecording.id == work.link_id).values(recording_id=recording.id)
    if not count_moved(session, linked):
        raise LeaseLost(f"source {work.link_id} of a job was deleted")


def take_twin(
    session: Session, claim: Claim, work: PlanWork, recording: Recording, content_sha256: str
) -> Recording | None:
    """Link the job's source to what the archive has of the same bytes, instead of to ``recording``; None: it has none.

    What lies under several names is heard once. A recording that was made for this source alone is removed.
    """
    twin = session.scalars(
        select(Recording)
        .where(
            Recording.tenant == claim.tenant,
            Recording.content_sha256 == content_sha256,
            Recording.channels == work.channels,
            Recording.state == RecordingState.PLANNED,
            Recording.id != recording.id,
        )
        .order_by(Recording.generation.desc(), Recording.id)
        .limit(1)
        .with_for_update(key_share=True)  # nobody deletes it meanwhile
    ).first()
    if twin is None:
        return None
    _link(session, work, twin)
    # Whoever links to ours meanwhile waits for this lock, and then finds it gone: its plan registers it anew.
    ours = select(Recording.id).where(Recording.id == recording.id, Recording.state == RecordingState.NEW)
    if session.scalar(ours.with_for_update()) is not None:
        linked = exists().where(JobRecording.recording_id == recording.id)
        count_moved(session, delete(Recording).where(Recording.id == recording.id, ~linked))
    return twin


def skip_if_seen(session: Session, claim: Claim, work: PlanWork, recording: Recording) -> bool:
    """Close the recording as skipped when the archive has all that the job asks of it; False otherwise.

    Raises ``LeaseLost`` and ``JobCancelled``.
    """
    job = session.scalars(select(Job).where(Job.id == claim.job_id)).one()
    seen = find_seen(session, job, [recording.uri])
    if seen.get((recording.uri, recording.version)) != recording.id:
        return False
    hold(session, claim, settles_recording=True)
    settle_recording(session, claim.job_id, work.link_id, Outcome(LinkState.SKIPPED), actor=claim.worker)
    return True


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
