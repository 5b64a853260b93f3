"""Find the jobs that go on waiting for a pass of a cancelled one, and hand it on to one of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.events import record_event
from db.statements import count_moved
from db.states import FINAL_JOB_STATES, FINAL_LINK_STATES
from db.tables import Job, JobRecording, JobRequest, Pass


@dataclass(frozen=True)
class Heir:
    """A living job that waits for the same recording, and what it asks of it."""

    job_id: str
    priority: int
    request_ids: frozenset[str]


def find_heirs(session: Session, job_id: str, recording_id: str) -> list[Heir]:
    """Return the living jobs that wait for a recording, the most urgent first."""
    rows = session.execute(
        select(Job.id, Job.priority, JobRequest.request_id)
        .join(JobRecording, JobRecording.job_id == Job.id)
        .join(JobRequest, JobRequest.job_id == Job.id)
        .where(
            JobRecording.recording_id == recording_id,
            JobRecording.state.not_in(FINAL_LINK_STATES),
            Job.state.not_in(FINAL_JOB_STATES),
            Job.id != job_id,
        )
        .order_by(Job.priority.desc(), Job.id)
    ).all()
    asked: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        asked.setdefault((row.id, row.priority), set()).add(row.request_id)
    return [Heir(one, priority, frozenset(requests)) for (one, priority), requests in asked.items()]


def lock_one(session: Session, heirs: Sequence[Heir]) -> Heir | None:
    """Return the first heir that is sure to live until we commit; None when all of their rows are in use."""
    for heir in heirs:
        state = session.scalar(
            select(Job.state).where(Job.id == heir.job_id).with_for_update(read=True, skip_locked=True)
        )
        if state is not None and state not in FINAL_JOB_STATES:
            return heir
    return None


def hand_on(session: Session, one: Pass, heir: Heir, wanted: Sequence[Heir], actor: str) -> None:
    """Give a pass to the heir, with those of its requests that somebody in ``wanted`` still asks for."""
    still = frozenset[str]().union(*(other.request_ids for other in wanted))
    count_moved(
        session,
        update(Pass)
        .where(Pass.id == one.id)
        .values(
            job_id=heir.job_id,
            priority=heir.priority,
            request_ids=[request_id for request_id in one.request_ids if request_id in still],
        ),
    )
    record_event(
        session,
        "pass.handed_on",
        tenant=one.tenant,
        job_id=heir.job_id,
        pass_id=one.id,
        actor=actor,
        data={"from_job": one.job_id, "kind": one.kind, "epoch": one.epoch},
    )
