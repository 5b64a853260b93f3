"""Own the lease of every pass, which ``claiming`` grants and ``setbacks`` takes back: heartbeat, hold, release.

Every statement is guarded by the state and the epoch that it expects, and "no row moved" is an answer. All instants
are the database's own. Nothing here commits: the caller's session does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_event
from db.fairness import Flow, find_place, ready_again
from db.statements import count_moved
from db.states import JOB_WORK, JobState, PassKind, PassState
from db.tables import Job, Pass


class LeaseLost(Exception):
    """A later claim owns the pass: drop the work."""

    code = "lease_lost"
    retryable = False


class JobCancelled(Exception):
    """The job was cancelled while its work was under way: drop the work."""

    code = "job_cancelled"
    retryable = False


@dataclass(frozen=True)
class Claim:
    """The right to work on one pass, as long as its lease is renewed and its epoch is the newest."""

    pass_id: str
    kind: PassKind
    epoch: int
    worker: str
    tenant: str
    job_id: str
    job_recording_id: str | None = None
    recording_id: str | None = None
    chunk_id: str | None = None
    source_id: str | None = None
    delivery_id: str | None = None
    request_ids: tuple[str, ...] = field(default=())
    attempts: int = 1


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed: a stable code, a sentence for people, and whether another attempt can help."""

    code: str
    message: str
    retryable: bool


def claim_of(row: Pass, worker: str) -> Claim:
    """Return the right to a pass as its row stands."""
    return Claim(
        pass_id=row.id,
        kind=PassKind(row.kind),
        epoch=row.epoch,
        worker=worker,
        tenant=row.tenant,
        job_id=row.job_id,
        job_recording_id=row.job_recording_id,
        recording_id=row.recording_id,
        chunk_id=row.chunk_id,
        source_id=row.source_id,
        delivery_id=row.delivery_id,
        request_ids=tuple(row.request_ids),
        attempts=row.attempts,
    )


def still_mine(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """Return the guard of every write of a claim: its pass is leased, and in this epoch."""
    return (Pass.id == claim.pass_id, Pass.epoch == claim.epoch, Pass.state == PassState.LEASED)


def renew_leases(session: Session, claims: Iterable[Claim], lease_seconds: float) -> list[Claim]:
    """Extend the leases and return the claims that are lost: their workers must stop."""
    return [
        claim
        for claim in sorted(claims, key=lambda claim: claim.pass_id)  # one order for everybody: no deadlock
        if not count_moved(
            session,
            update(Pass).where(*still_mine(claim)).values(lease_until=database_now(lease_seconds)),
        )
    ]


def find_lost(session: Session, claims: Iterable[Claim]) -> list[Claim]:
    """Return the claims that no longer hold their pass, as after a cancel; nothing is locked or renewed."""
    epochs = {claim.pass_id: claim.epoch for claim in claims}
    held = session.execute(
        select(Pass.id, Pass.epoch).where(Pass.id.in_(epochs), Pass.state == PassState.LEASED)
    )
    still = {(row.id, row.epoch) for row in held}
    return [claim for claim in claims if (claim.pass_id, claim.epoch) not in still]


def hold(session: Session, claim: Claim, *, settles_recording: bool = False) -> Claim:
    """Close the pass as done if this claim still owns it; everything else of the transaction follows it.

    Reads the job row first with a shared lock, so that a cancel that has committed wins and the completions of
    one large job do not queue. A caller that will move the job's counters says ``settles_recording``: two shared
    locks that both want to become exclusive would deadlock. Returns the claim as the pass is now: a cancel may have
    handed it on to another job, with fewer requests. Raises ``JobCancelled`` and ``LeaseLost``.
    """
    claim = lock_job_of(session, claim, exclusive=settles_recording)
    moved = count_moved(
        session,
        update(Pass)
        .where(*still_mine(claim))
        .values(state=PassState.DONE, lease_until=None, finished_at=database_now()),
    )
    if not moved:
        raise lost(claim)
    return claim


def keep(session: Session, claim: Claim, lease_seconds: float) -> None:
    """Guard a step of long work in its own transaction: the claim is still ours, and stays so for ``lease_seconds``.

    Locks the job row exclusively. What went wrong before the step is forgiven: the pass has come further since.
    Raises ``LeaseLost`` and ``JobCancelled``.
    """
    lock_job_of(session, claim, exclusive=True)
    values = {"lease_until": database_now(lease_seconds), "errors": 0, "crashes": 0}
    if not count_moved(session, update(Pass).where(*still_mine(claim)).values(**values)):
        raise lost(claim)


def put_back(session: Session, claim: Claim, *, pause: float = 0.0) -> bool:
    """Make the pass ready again for its next part; the attempt does not count. Returns whether it was ours.

    It queues up anew, after ``pause`` seconds, so that long work takes turns with other work of its kind.
    """
    row = session.execute(select(Pass.model, Pass.priority).where(*still_mine(claim))).first()
    if row is None:
        return False
    flow = Flow(claim.tenant, claim.job_id, claim.kind, row.model, row.priority)
    start, step = find_place(session, flow)
    values = {**ready_again(), "virtual_time": start + step, "attempts": Pass.attempts - 1}
    if pause:
        values["not_before"] = database_now(pause)
    return bool(count_moved(session, update(Pass).where(*still_mine(claim)).values(values)))


def hold_all(session: Session, claims: Sequence[Claim]) -> list[Claim | LeaseLost | JobCancelled]:
    """Close many passes as done at once, for callers that move no job's counters; see ``hold``.

    Returns for each claim how its pass is now, or why it does not hold: then nothing was changed for it. Jobs are
    locked first and then passes, in the order of their ids.
    """
    answers: dict[int, LeaseLost | JobCancelled] = {}
    ids = [claim.pass_id for claim in claims]
    leased = (Pass.id.in_(ids), Pass.state == PassState.LEASED)
    owners = {row.id: row.job_id for row in session.execute(select(Pass.id, Pass.job_id).where(*leased))}
    jobs = session.execute(
        select(Job.id, Job.state)
        .where(Job.id.in_(set(owners.values())))
        .order_by(Job.id)
        .with_for_update(read=True)
    )
    cancelled = {row.id for row in jobs if row.state == JobState.CANCELLED}
    for place, claim in enumerate(claims):
        if owners.get(claim.pass_id) in cancelled:  # perhaps handed on to another job meanwhile
            try:
                lock_job_of(session, claim, exclusive=False)
            except (LeaseLost, JobCancelled) as error:
                answers[place] = error
    locked = session.execute(
        select(Pass.id, Pass.epoch, Pass.job_id, Pass.request_ids)
        .where(*leased)
        .order_by(Pass.id)
        .with_for_update()
    )
    now = {(row.id, row.epoch): row for row in locked}
    found: list[Claim | LeaseLost | JobCancelled] = []
    for place, claim in enumerate(claims):
        row = now.get((claim.pass_id, claim.epoch))
        if place in answers or row is None:
            found.append(answers.get(place) or lost(claim))
        else:
            found.append(replace(claim, job_id=row.job_id, request_ids=tuple(row.request_ids)))
    count_moved(
        session,
        update(Pass)
        .where(Pass.id.in_([one.pass_id for one in found if isinstance(one, Claim)]))
        .values(state=PassState.DONE, lease_until=None, finished_at=database_now()),
    )
    return found


def lock_job_of(session: Session, claim: Claim, *, exclusive: bool) -> Claim:
    """Lock the row of the job that the pass belongs to now, shared or exclusive; return the claim as the pass is.

    A cancel locks the job exclusively before it hands a pass on, so that the pass of a living locked job stays
    with it. Raises ``JobCancelled`` when a cancel has committed and nobody else wants the pass, ``LeaseLost``.
    """
    cancelled = None
    while True:
        found = session.execute(select(Pass.job_id, Pass.request_ids).where(*still_mine(claim))).first()
        if found is None:
            raise lost(claim)
        if found.job_id == cancelled:
            raise JobCancelled(f"job {cancelled} was cancelled")
        state = session.scalar(
            select(Job.state)
            .where(Job.id == found.job_id)
            .with_for_update(read=not exclusive, key_share=exclusive)
        )
        if state != JobState.CANCELLED or claim.kind not in JOB_WORK:
            return replace(claim, job_id=found.job_id, request_ids=tuple(found.request_ids))
        cancelled = found.job_id


def release(session: Session, claim: Claim) -> bool:
    """Give the pass back unworked, as on a shutdown: the attempt does not count. Returns whether it was ours."""
    moved = count_moved(
        session,
        update(Pass).where(*still_mine(claim)).values(**ready_again(), attempts=Pass.attempts - 1),
    )
    if moved:
        record_pass(session, claim, "pass.released", {})
    return bool(moved)


def lost(claim: Claim) -> LeaseLost:
    """Return the error that says so."""
    return LeaseLost(f"pass {claim.pass_id}: epoch {claim.epoch} no longer holds the lease")


def record_pass(session: Session, claim: Claim, kind: str, data: dict[str, str]) -> None:
    """Record an event of a pass in the history of its job."""
    record_event(
        session,
        kind,
        tenant=claim.tenant,
        job_id=claim.job_id,
        job_recording_id=claim.job_recording_id,
        pass_id=claim.pass_id,
        actor=claim.worker,
        data={"kind": claim.kind, "epoch": claim.epoch, **data},
    )
