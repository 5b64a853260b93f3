"""Find work that is in nobody's hands, and open it again; every repair looks once more under the job's lock.

States and passes move in one transaction each, so that what is found here is a fault of ours, or of who edited rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, or_, select
from sqlalchemy.orm import Session

from db.cancelling import open_retire
from db.clock import database_now
from db.deleting import expire_job, is_expired
from db.events import record_event
from db.fairness import insert_ready
from db.states import (
    FINAL_JOB_STATES,
    FINAL_LINK_STATES,
    JOB_WORK,
    OPEN_PASS_STATES,
    JobState,
    LinkState,
    PassKind,
    SourceState,
)
from db.tables import Job, JobRecording, JobSource, Pass

PAGE = 100  # repairs of a kind in one round

ACTOR = "reconciler"


@dataclass(frozen=True)
class Idle:
    """A recording or a source of a living job whose work is in nobody's hands, and the kind of pass it needs."""

    job_id: str
    id: str
    kind: PassKind


def find_idle(session: Session, limit: int = PAGE) -> list[Idle]:
    """Return links and sources of living jobs without an open pass; nothing is locked yet."""
    links = session.execute(_idle_links().limit(limit)).all()
    sources = session.execute(_idle_sources().limit(limit)).all()
    return [
        *(
            Idle(row.job_id, row.id, PassKind.FINISH if row.state == LinkState.FINISHING else PassKind.PLAN)
            for row in links
        ),
        *(Idle(row.job_id, row.id, PassKind.EXPAND) for row in sources),
    ]


def open_again(session: Session, idle: Idle) -> bool:
    """Open a pass for work that is in nobody's hands; False when it is no more so.

    A plan is what helps a recording that was being understood too: it opens whatever is missing, and makes the
    timeline again.
    """
    job = lock_job(session, idle.job_id)
    if job is None or job.state in FINAL_JOB_STATES:
        return False
    if idle.kind == PassKind.EXPAND:
        found = session.execute(_idle_sources().where(JobSource.id == idle.id)).first()
        columns = {"source_id": idle.id}
    else:
        found = session.execute(_idle_links().where(JobRecording.id == idle.id)).first()
        columns = {"job_recording_id": idle.id}
        if found is not None and idle.kind == PassKind.FINISH:
            columns["recording_id"] = found.recording_id
    if found is None:
        return False
    owner = {"tenant": job.tenant, "kind": idle.kind, "job_id": job.id, "priority": job.priority}
    insert_ready(session, [{**owner, **columns}])
    record_event(
        session,
        "pass.reopened",
        tenant=job.tenant,
        job_id=job.id,
        job_recording_id=columns.get("job_recording_id"),
        actor=ACTOR,
        data={"kind": idle.kind},
    )
    session.flush()
    return True


def find_unended(session: Session, limit: int = PAGE) -> Sequence[str]:
    """Return living jobs whose sources and recordings are all closed."""
    is_open = exists().where(JobRecording.job_id == Job.id, JobRecording.state.not_in(FINAL_LINK_STATES))
    query = select(Job.id).where(Job.state.not_in(FINAL_JOB_STATES), Job.sources_open == 0, ~is_open)
    return session.scalars(query.limit(limit)).all()


def find_unretired(session: Session, limit: int = PAGE) -> Sequence[str]:
    """Return jobs that were cancelled and still hold open work, or whose time has come, without anybody at it."""
    open_link = exists().where(JobRecording.job_id == Job.id, JobRecording.state.not_in(FINAL_LINK_STATES))
    open_work = exists().where(
        Pass.job_id == Job.id, Pass.kind.in_(JOB_WORK), Pass.state.in_(OPEN_PASS_STATES)
    )
    retiring = exists().where(
        Pass.job_id == Job.id, Pass.kind == PassKind.RETIRE, Pass.state.in_(OPEN_PASS_STATES)
    )
    wanting = or_(
        Job.expires_at <= database_now(),
        and_(Job.state == JobState.CANCELLED, or_(open_link, open_work)),
    )
    return session.scalars(select(Job.id).where(wanting, ~retiring).limit(limit)).all()


def retire_again(session: Session, job_id: str) -> bool:
    """Open the pass that retires a job, cancelling it first where its time has come; False when there is one."""
    job = lock_job(session, job_id)
    if job is None:
        return False
    if is_expired(session, job):
        return expire_job(session, job, actor=ACTOR)
    return open_retire(session, job)


def _idle_links() -> Any:
    own = exists().where(
        Pass.job_recording_id == JobRecording.id,
        Pass.kind.in_((PassKind.PLAN, PassKind.FINISH)),
        Pass.state.in_(OPEN_PASS_STATES),
    )
    heard = exists().where(
        Pass.recording_id == JobRecording.recording_id,
        Pass.kind == PassKind.UNDERSTAND,
        Pass.state.in_(OPEN_PASS_STATES),
    )
    return (
        select(JobRecording.job_id, JobRecording.id, JobRecording.state, JobRecording.recording_id)
        .join(Job, Job.id == JobRecording.job_id)
        .where(
            JobRecording.state.not_in(FINAL_LINK_STATES),
            Job.state.not_in(FINAL_JOB_STATES),
            ~own,
            or_(JobRecording.state != LinkState.UNDERSTANDING, ~heard),
        )
        .order_by(JobRecording.id)
    )


def _idle_sources() -> Any:
    own = exists().where(
        Pass.source_id == JobSource.id, Pass.kind == PassKind.EXPAND, Pass.state.in_(OPEN_PASS_STATES)
    )
    return (
        select(JobSource.job_id, JobSource.id)
        .join(Job, Job.id == JobSource.job_id)
        .where(JobSource.state == SourceState.EXPANDING, Job.state.not_in(FINAL_JOB_STATES), ~own)
        .order_by(JobSource.id)
    )


def lock_job(session: Session, job_id: str) -> Job | None:
    """Lock a job's row exclusively and return it as it is now, None when it is gone."""
    return session.scalars(select(Job).where(Job.id == job_id).with_for_update(key_share=True)).first()
