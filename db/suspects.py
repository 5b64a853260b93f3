"""Hand out suspects, each to a worker that holds nothing else: passes that one more crash would set aside.

A worker that dies takes down all that it holds, and no row says which of it was to blame. So only a crash that a pass
had to itself may set it aside. A worker that meets a suspect reserves it, lets end what it holds, then leases it. Until
then the suspect is ready, and waits for a time: should the worker die of what it still holds, that is no crash of the
suspect's, and soon the next worker meets it. As in ``claims``, nothing here commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, literal_column, select, update
from sqlalchemy.orm import Session

from db.claiming import lease, start_jobs
from db.claims import Claim, claim_of
from db.clock import database_now
from db.delivering import count_free
from db.fairness import READY
from db.setbacks import suspect_from
from db.statements import count_moved
from db.states import JOB_WORK, JobState, PassKind
from db.tables import Job, Pass

FEW: ColumnElement[int] = literal_column("2")  # written out: a parameter would hide what the index holds


@dataclass(frozen=True)
class Reserved:
    """A suspect that nobody else meets for a while."""

    pass_id: str
    kind: PassKind
    model: str
    epoch: int
    crashes: int


def has_suspects(session: Session, kind: PassKind, *, model: str = "") -> bool:
    """Say whether a suspect of a queue is ready, by a step into an index that is nearly always empty."""
    return session.scalar(_ready(kind, model, Pass.id).limit(1)) is not None


def reserve_suspect(session: Session, kind: PassKind, *, model: str = "", seconds: float) -> Reserved | None:
    """Let the most urgent ready suspect wait for us; None when there is none. After ``seconds`` anybody meets it."""
    columns = (Pass.id, Pass.model, Pass.epoch, Pass.crashes)
    most_urgent = (
        _ready(kind, model, *columns)
        .order_by(Pass.priority.desc(), Pass.virtual_time, Pass.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=Pass)
    )
    row = session.execute(most_urgent).first()
    if row is None:
        return None
    found = Reserved(row.id, kind, row.model, row.epoch, row.crashes)
    return found if keep_reserved(session, found, seconds) else None


def keep_reserved(session: Session, found: Reserved, seconds: float) -> bool:
    """Let a reserved suspect wait for so long from now; False when another worker has had it meanwhile."""
    waits = update(Pass).where(*_still_there(found)).values(not_before=database_now(seconds))
    return bool(count_moved(session, waits))


def claim_suspect(session: Session, found: Reserved, worker: str, *, lease_seconds: float) -> Claim | None:
    """Lease a reserved suspect for a worker that holds nothing else; None when it cannot be had.

    Then it was cancelled, another worker has had it, or its webhook has no place.
    """
    if found.kind == PassKind.DELIVER and count_free(session, found.model) < 1:
        return None
    chosen = select(Pass.id).where(*_still_there(found)).with_for_update(skip_locked=True, of=Pass)
    taken = lease(session, found.kind, _of_living_jobs(chosen, found.kind), worker, lease_seconds)
    start_jobs(session, found.kind, taken, actor=worker)
    return claim_of(taken[0].Pass, worker) if taken else None


def _ready(kind: PassKind, model: str, *columns: Any) -> Select[Any]:
    ready = select(*columns).where(
        Pass.state == READY, Pass.not_before.is_(None), Pass.crashes >= FEW, Pass.kind == kind
    )
    if kind != PassKind.DELIVER:  # whose queues are many, and all of one lane
        ready = ready.where(Pass.model == model)
    return _of_living_jobs(ready.where(Pass.crashes >= suspect_from(kind)), kind)


def _of_living_jobs(chosen: Select[Any], kind: PassKind) -> Select[Any]:
    """Leave out what belongs to cancelled jobs: those who retire them find it."""
    if kind not in JOB_WORK:
        return chosen
    return chosen.join(Job, Job.id == Pass.job_id).where(Job.state != JobState.CANCELLED)


def _still_there(found: Reserved) -> tuple[ColumnElement[bool], ...]:
    return (Pass.id == found.pass_id, Pass.epoch == found.epoch, Pass.state == READY)
