"""Hand out the most urgent ready passes; leave aside what belongs to cancelled jobs, and suspects to ``suspects``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, claim_of
from db.clock import database_now
from db.events import record_events
from db.fairness import READY, wake_waiting
from db.setbacks import suspect_from
from db.statements import count_moved
from db.states import JOB_WORK, JobState, PassKind, PassState
from db.tables import Job, Pass

ASIDE_SECONDS = 600.0  # how long the ready passes of a cancelled job stand aside for those who retire them
ASIDE_PAGE = 5_000  # how many of them one claim moves


def claim_passes(
    session: Session, kind: PassKind, worker: str, *, model: str = "", lease_seconds: float, limit: int = 1
) -> list[Claim]:
    """Lease up to ``limit`` of the most urgent ready passes of one kind and model; the list may be empty.

    Follows the partial index over ready rows, past suspects: those need a worker to themselves, and ``db.suspects``
    hands them out. Work of a cancelled job is not handed out: what is met of it is put
    aside, a page at a time, for those who retire it. A crash after the commit leaves leases that expire.
    """
    wake_waiting(session)
    taken = _take(session, kind, model, worker, lease_seconds, limit)
    if any(row.is_cancelled for row in taken):
        gone = [row.Pass for row in taken if row.is_cancelled]
        taken = [row for row in taken if not row.is_cancelled]
        _put_aside(session, gone)
        left = limit - len(taken)
        taken += _take(session, kind, model, worker, lease_seconds, left, skip_cancelled=True)
    start_jobs(session, kind, taken, actor=worker)
    return [claim_of(row, worker) for row in sorted((row.Pass for row in taken), key=_order)]


def is_due(session: Session, kind: PassKind, *, model: str = "") -> bool:
    """Say whether a claim might find something. A read, which keeps no writer out: for whoever has found nothing."""
    ready = select(Pass.id).where(Pass.state == READY, Pass.not_before.is_(None), Pass.kind == kind)
    if kind != PassKind.DELIVER:  # whose queues are many, and all of one lane
        ready = ready.where(Pass.model == model)
    # In the order of the index: or PostgreSQL, which believes that many are ready, may look for one in the whole table.
    first = ready.order_by(Pass.model, Pass.priority.desc(), Pass.virtual_time, Pass.id).limit(1)
    rested = select(Pass.id).where(
        Pass.state == READY, Pass.not_before.is_not(None), Pass.not_before <= database_now()
    )
    found = select(first.scalar_subquery(), rested.order_by(Pass.not_before).limit(1).scalar_subquery())
    return any(session.execute(found).one())


def _take(
    session: Session,
    kind: PassKind,
    model: str,
    worker: str,
    lease_seconds: float,
    limit: int,
    *,
    skip_cancelled: bool = False,
) -> list[Any]:
    """Lease the most urgent passes; see ``lease``."""
    urgent = (
        select(Pass.id)
        .where(
            Pass.state == READY,
            Pass.not_before.is_(None),
            Pass.kind == kind,
            Pass.model == model,
            Pass.crashes < suspect_from(kind),
        )
        .order_by(Pass.priority.desc(), Pass.virtual_time, Pass.id)
        .limit(limit)
        .with_for_update(skip_locked=True, of=Pass)
    )
    if skip_cancelled:
        urgent = urgent.join(Job, Job.id == Pass.job_id).where(Job.state != JobState.CANCELLED)
    return lease(session, kind, urgent, worker, lease_seconds)


def lease(
    session: Session, kind: PassKind, chosen: Select[str], worker: str, lease_seconds: float
) -> list[Any]:
    """Lease the ready passes whose ids are chosen and return each with what its job's state means for it."""
    # Materialised, or PostgreSQL may run the subquery again and take more rows than the limit.
    page = chosen.cte("urgent").prefix_with("MATERIALIZED", dialect="postgresql")
    job_state = select(Job.state).where(Job.id == Pass.job_id).correlate(Pass).scalar_subquery()
    stops = kind in JOB_WORK
    rows = session.execute(
        update(Pass)
        .where(Pass.id.in_(select(page.c.id)), Pass.state == READY)
        .values(
            state=PassState.LEASED,
            epoch=Pass.epoch + 1,
            attempts=Pass.attempts + 1,
            worker=worker,
            lease_until=database_now(lease_seconds),
            not_before=None,
        )
        .returning(
            Pass,
            ((job_state == JobState.CANCELLED) & stops).label("is_cancelled"),
            (job_state == JobState.QUEUED).label("is_queued"),
        )
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return list(rows)


def _order(row: Pass) -> tuple[int, float, str]:
    return -row.priority, row.virtual_time, row.id


def _put_aside(session: Session, gone: Sequence[Pass]) -> None:
    """Give passes of cancelled jobs back, and take a page of the same jobs out of the way for a while.

    They stay ready, for whoever retires the job or hands them to another that waits for them too: that is not
    the claim's to decide.
    """
    for row in gone:
        count_moved(
            session,
            update(Pass)
            .where(Pass.id == row.id, Pass.epoch == row.epoch)
            .values(
                state=PassState.READY,
                lease_until=None,
                worker=None,
                attempts=Pass.attempts - 1,
                not_before=database_now(ASIDE_SECONDS),
            ),
        )
    first = gone[0]
    behind = (
        select(Pass.id)
        .where(
            Pass.state == READY,
            Pass.not_before.is_(None),
            Pass.kind == first.kind,
            Pass.model == first.model,
            Pass.job_id.in_({row.job_id for row in gone}),
        )
        .limit(ASIDE_PAGE)
        .with_for_update(skip_locked=True)
        .cte("behind")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    count_moved(
        session,
        update(Pass)
        .where(Pass.id.in_(select(behind.c.id)), Pass.state == READY)
        .values(not_before=database_now(ASIDE_SECONDS)),
    )


def start_jobs(session: Session, kind: PassKind, taken: Sequence[Any], *, actor: str) -> None:
    """Let the jobs begin whose first work was just leased."""
    job_ids = {row.Pass.job_id for row in taken if row.is_queued}
    if kind not in (PassKind.PLAN, PassKind.EXPAND) or not job_ids:
        return
    # Skips what another claim of the same job is starting: claims never wait for each other.
    queued = (
        select(Job.id, Job.tenant)
        .where(Job.id.in_(sorted(job_ids)), Job.state == JobState.QUEUED)
        .with_for_update(skip_locked=True, key_share=True)
    )
    if rows := session.execute(queued).all():
        count_moved(
            session,
            update(Job)
            .where(Job.id.in_([row.id for row in rows]))
            .values(state=JobState.RUNNING, started_at=database_now()),
        )
        record_events(
            session, "job.running", [{"tenant": row.tenant, "job_id": row.id} for row in rows], actor=actor
        )
