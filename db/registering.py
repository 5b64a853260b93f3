"""Say which recording a job's source is: the one of its version, or of the same bytes, known or new; or leave it."""

from __future__ import annotations

from sqlalchemy import delete, exists, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, LeaseLost, hold
from db.links import find_seen
from db.planning import PlanWork
from db.settling import Outcome, settle_recording
from db.statements import count_moved, insert_missing
from db.states import IfSeen, LinkState, RecordingState
from db.tables import Job, JobRecording, Recording
from db.types import new_id


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
