"""Bring one recording of a job to its final state, and the job with its last recording."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_event
from db.statements import count_moved
from db.states import FINAL_JOB_STATES, FINAL_LINK_STATES, JobState, LinkState
from db.tables import Job, JobRecording


@dataclass(frozen=True)
class Outcome:
    """How one recording of a job ended; PARTIAL and FAILED say why."""

    state: LinkState
    error_code: str | None = None
    error_message: str | None = None


def settle_recording(session: Session, job_id: str, link_id: str, outcome: Outcome, *, actor: str) -> bool:
    """Close one recording of a job and count it once; returns False when it was closed already.

    The caller holds the job row exclusively (``claims.lock_job``).
    """
    moved = count_moved(
        session,
        update(JobRecording)
        .where(JobRecording.id == link_id, JobRecording.state.not_in(FINAL_LINK_STATES))
        .values(
            state=outcome.state,
            error_code=outcome.error_code,
            error_message=outcome.error_message,
            finished_at=database_now(),
        ),
    )
    if not moved:
        return False
    failed, partial = outcome.state == LinkState.FAILED, outcome.state == LinkState.PARTIAL
    job = session.scalars(
        update(Job)
        .where(Job.id == job_id)
        .values(
            recordings_done=Job.recordings_done + int(not failed),
            recordings_partial=Job.recordings_partial + int(partial),
            recordings_failed=Job.recordings_failed + int(failed),
        )
        .returning(Job)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).one()
    record_event(
        session,
        f"recording.{outcome.state}",
        tenant=job.tenant,
        job_id=job_id,
        job_recording_id=link_id,
        actor=actor,
        data={"code": outcome.error_code} if outcome.error_code else None,
    )
    if job.recordings_done + job.recordings_failed == job.recordings_total:
        _finish_job(session, job, actor)
    return True


def _finish_job(session: Session, job: Job, actor: str) -> None:
    state = final_state(job.recordings_total, job.recordings_partial, job.recordings_failed)
    moved = count_moved(
        session,
        update(Job)
        .where(Job.id == job.id, Job.state.not_in(FINAL_JOB_STATES))
        .values(state=state, finished_at=database_now()),
    )
    if moved:
        record_event(session, f"job.{state}", tenant=job.tenant, job_id=job.id, actor=actor)


def final_state(total: int, partial: int, failed: int) -> JobState:
    """Return how a job ended whose recordings are all closed."""
    if failed == total:
        return JobState.FAILED
    return JobState.PARTIAL if failed or partial else JobState.SUCCEEDED
