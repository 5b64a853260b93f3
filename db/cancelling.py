"""Cancel jobs, and retire page by page what a cancelled job leaves open, without taking anything from another job."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, LeaseLost
from db.clock import database_now
from db.events import record_event, record_events
from db.fairness import insert_ready
from db.heirs import find_heirs, hand_on, lock_one
from db.queries import NotFound
from db.statements import count_moved
from db.states import (
    FINAL_JOB_STATES,
    FINAL_LINK_STATES,
    JOB_WORK,
    OPEN_PASS_STATES,
    JobState,
    LinkState,
    PassKind,
    PassState,
    SourceState,
)
from db.tables import Job, JobRecording, JobSource, Pass, Recording

PAGE = 500  # passes and links that one transaction retires
RETIRE_PRIORITY = 10  # before anybody's work: it makes room

_ENDED = {
    JobState.SUCCEEDED: "succeeded",
    JobState.PARTIAL: "is partial",
    JobState.FAILED: "failed",
}


class JobOver(Exception):
    """The job has ended otherwise: there is nothing left to cancel."""

    code = "job_over"
    retryable = False


@dataclass(frozen=True)
class Retired:
    """How many passes and recordings one page settled, whether that was all, and whether a job's row was in use."""

    moved: int
    is_over: bool
    waits: bool


def cancel_job(session: Session, tenant: str, job_id: str, *, actor: str) -> Job:
    """Cancel a job: once this has committed, nothing is added for it any more. Cancelling twice is the same as once.

    What is leased now is handed on or ended at once, so that its workers stop; of the rest a first page, and a
    ``retire`` pass does what is left. Raises ``NotFound`` and ``JobOver``.
    """
    job = session.scalars(
        select(Job).where(Job.id == job_id, Job.tenant == tenant).with_for_update(key_share=True)
    ).first()
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    if job.state == JobState.CANCELLED:
        return job
    if job.state in FINAL_JOB_STATES:
        raise JobOver(f"job {job_id} has ended already: it {_ENDED[JobState(job.state)]}")
    count_moved(
        session,
        update(Job)
        .where(Job.id == job_id)
        .values(state=JobState.CANCELLED, finished_at=database_now(), sources_open=0),
    )
    record_event(session, "job.cancelled", tenant=tenant, job_id=job_id, actor=actor)
    count_moved(
        session,
        update(JobSource)
        .where(JobSource.job_id == job_id, JobSource.state == SourceState.EXPANDING)
        .values(state=SourceState.CANCELLED, finished_at=database_now()),
    )
    session.refresh(job)
    leased = _lock_passes(session, job_id, JOB_WORK, (PassState.LEASED,))
    _retire_passes(session, job, leased, actor)
    if not retire_page(session, job, actor=actor).is_over:
        open_retire(session, job)
    session.refresh(job)
    return job


def open_retire(session: Session, job: Job) -> bool:
    """Open the pass that retires a job, unless there is one; the caller holds the job row exclusively."""
    there = exists().where(
        Pass.job_id == job.id, Pass.kind == PassKind.RETIRE, Pass.state.in_(OPEN_PASS_STATES)
    )
    if session.scalar(select(there)):
        return False
    passes = {"tenant": job.tenant, "kind": PassKind.RETIRE, "job_id": job.id, "priority": RETIRE_PRIORITY}
    insert_ready(session, [passes])
    return True


def lock_retired(session: Session, claim: Claim) -> Job:
    """Lock the job of a ``retire`` pass exclusively and check that the claim still holds; raises ``LeaseLost``."""
    job = session.scalars(select(Job).where(Job.id == claim.job_id).with_for_update(key_share=True)).first()
    mine = session.scalar(
        select(Pass.id).where(
            Pass.id == claim.pass_id, Pass.epoch == claim.epoch, Pass.state == PassState.LEASED
        )
    )
    if job is None or mine is None:
        raise LeaseLost(f"pass {claim.pass_id}: epoch {claim.epoch} no longer holds the lease")
    return job


def retire_page(session: Session, job: Job, *, actor: str, limit: int = PAGE) -> Retired:
    """Retire a page of a cancelled job's open passes and recordings; the caller holds the job row exclusively.

    A pass that another living job needs goes on as that job's, with the requests that somebody still wants. Where that
    job's row is in use the pass is left for a later page: two cancels must not wait for each other.
    """
    if job.state != JobState.CANCELLED:
        raise ValueError(f"job {job.id} is {job.state}: only a cancelled job is retired")
    passes = _lock_passes(session, job.id, JOB_WORK, OPEN_PASS_STATES, limit)
    settled = _retire_passes(session, job, passes, actor)
    links = _cancel_links(session, job, actor, limit)
    # Who was starting a finish held the link until now, and its pass was not to be seen before.
    late = _lock_passes(session, job.id, (PassKind.FINISH,), OPEN_PASS_STATES, limit)
    _cancel_passes(session, late, actor)
    waits = settled < len(passes)
    is_full = limit in (len(passes), links, len(late))
    return Retired(settled + links + len(late), is_over=not waits and not is_full, waits=waits)


def _lock_passes(
    session: Session,
    job_id: str,
    kinds: Sequence[PassKind],
    states: Sequence[PassState],
    limit: int | None = None,
) -> Sequence[Pass]:
    query = (
        select(Pass)
        .where(Pass.job_id == job_id, Pass.kind.in_(kinds), Pass.state.in_(states))
        .order_by(Pass.id)  # one order for everybody: no deadlock
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return session.scalars(query if limit is None else query.limit(limit)).all()


def _retire_passes(session: Session, job: Job, passes: Sequence[Pass], actor: str) -> int:
    """Cancel passes or hand them on; return how many are settled, the others wait for another job's row."""
    own = [one for one in passes if one.kind != PassKind.UNDERSTAND]
    shared: dict[str, list[Pass]] = {}
    for one in passes:
        if one.kind == PassKind.UNDERSTAND and one.recording_id is not None:
            shared.setdefault(one.recording_id, []).append(one)
    # The recording's lock is what a plan takes that looks whether somebody works on what it asks.
    session.execute(
        select(Recording.id)
        .where(Recording.id.in_(shared))
        .order_by(Recording.id)
        .with_for_update(key_share=True)
    ).all()
    settled = 0
    for recording_id, found in sorted(shared.items()):
        heirs = find_heirs(session, job.id, recording_id)
        unwanted = []
        for one in found:
            wanted = [heir for heir in heirs if heir.request_ids.intersection(one.request_ids)]
            if not wanted:
                unwanted.append(one)
            elif heir := lock_one(session, wanted):
                hand_on(session, one, heir, wanted, actor)
                settled += 1
        own += unwanted
    _cancel_passes(session, own, actor)
    return settled + len(own)


def _cancel_passes(session: Session, passes: Sequence[Pass], actor: str) -> None:
    if not passes:
        return
    count_moved(
        session,
        update(Pass)
        .where(Pass.id.in_([one.id for one in passes]), Pass.state.in_(OPEN_PASS_STATES))
        .values(
            state=PassState.CANCELLED,
            lease_until=None,
            worker=None,
            not_before=None,
            finished_at=database_now(),
        ),
    )
    record_events(
        session,
        "pass.cancelled",
        [
            {
                "tenant": one.tenant,
                "job_id": one.job_id,
                "job_recording_id": one.job_recording_id,
                "pass_id": one.id,
                "data": {"kind": one.kind, "epoch": one.epoch},
            }
            for one in passes
        ],
        actor=actor,
    )


def _cancel_links(session: Session, job: Job, actor: str, limit: int) -> int:
    links = session.scalars(
        select(JobRecording.id)
        .where(JobRecording.job_id == job.id, JobRecording.state.not_in(FINAL_LINK_STATES))
        .order_by(JobRecording.id)
        .limit(limit)
        .with_for_update(key_share=True)
    ).all()
    if not links:
        return 0
    moved = count_moved(
        session,
        update(JobRecording)
        .where(JobRecording.id.in_(links), JobRecording.state.not_in(FINAL_LINK_STATES))
        .values(state=LinkState.CANCELLED, finished_at=database_now()),
    )
    count_moved(
        session,
        update(Job).where(Job.id == job.id).values(recordings_cancelled=Job.recordings_cancelled + moved),
    )
    record_events(
        session,
        "recording.cancelled",
        [{"tenant": job.tenant, "job_id": job.id, "job_recording_id": link} for link in links],
        actor=actor,
    )
    return moved
