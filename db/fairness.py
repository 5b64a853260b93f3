"""Make passes ready, each with the virtual time at which it is due, so that tenants and their jobs share the workers.

Start-time fair queueing: a pass is due at ``max(front, last of its job) + cost / share``. The front is the virtual time
of the first ready pass of its queue (kind, model, priority), the last that of its job's newest pass while that is
ready too; a share is the tenant's weight, divided by how many of its jobs compete at its front. All of it is read
from the ready rows by a few steps into indexes. Nothing is stored beside them: there is no row that everybody
updates, a queue that ran empty begins anew, and a crash cannot leave a clock behind. Two writers of one job that meet
may give the same times twice, which costs the others a few places and never a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, case, distinct, func, literal_column, select, update
from sqlalchemy.orm import Session, aliased

from db.clock import database_now
from db.statements import count_moved, insert_rows
from db.states import PassState
from db.tables import Pass, Tenant
from db.types import new_id
from db.waiting import ALL_TENANTS

LOOK_AHEAD = 128  # passes of a tenant among which its competing jobs are counted
WAKE_PAGE = 500

READY: ColumnElement[str] = literal_column(
    f"'{PassState.READY}'"
)  # written out: a parameter would hide from planners what an index holds


@dataclass(frozen=True)
class Flow:
    """The ready passes of one job in one queue."""

    tenant: str
    job_id: str
    kind: str
    model: str
    priority: int


class Place(NamedTuple):
    """Where a flow's next pass comes in: due at ``start`` + its cost * ``step``."""

    start: float
    step: float


@dataclass
class _Standing:
    """How a tenant stands in a queue, as a query found it and as the rows that go in with the same call change it."""

    weight: float
    front: float | None
    last_of_tenant: float | None
    rivals: int  # the tenant's jobs that compete with one that comes in

    def place(self, last_of_job: float | None = None) -> Place:
        """Return where the next pass of a job comes in."""
        jobs = self.rivals + 1
        start = max(self.front or 0.0, last_of_job or 0.0)
        if jobs > LOOK_AHEAD:  # more than can be told apart: the tenant's passes queue up behind each other
            start, jobs = max(start, self.last_of_tenant or 0.0), 1
        return Place(start, jobs / self.weight)

    def add(self, due: float, *, new_job: bool) -> None:
        """Know of a row that went in after the query."""
        self.front = due if self.front is None else min(self.front, due)
        self.last_of_tenant = max(self.last_of_tenant or 0.0, due)
        self.rivals += new_job


def insert_ready(
    session: Session, passes: Sequence[Mapping[str, Any]], *, jobs_are_new: bool = False
) -> None:
    """Insert ready passes, in this order within each job; the only way in which new passes come to be.

    Each is a mapping of columns that names ``tenant``, ``job_id`` and ``kind`` at least; all have the same columns.
    Where ``jobs_are_new``, and have no passes yet, each queue is asked once for all of them.
    """
    due: dict[Flow, Place] = {}
    standings: dict[Flow, _Standing] = {}
    rows = []
    for given in passes:
        flow = Flow(
            given["tenant"],
            given["job_id"],
            str(given["kind"]),
            given.get("model", ""),
            given.get("priority", 0),
        )
        standing = _standing_of(session, flow, standings) if jobs_are_new else None
        start, step = due.get(flow) or (standing.place() if standing else find_place(session, flow))
        if standing is not None:
            standing.add(start + cost_of(given) * step, new_job=flow not in due)
        due[flow] = Place(start + cost_of(given) * step, step)
        rows.append({"id": new_id(), **given, "virtual_time": due[flow].start})
    insert_rows(session, Pass, rows)


def _standing_of(session: Session, flow: Flow, known: dict[Flow, _Standing]) -> _Standing:
    queue = replace(flow, job_id="")
    if queue not in known:
        known[queue], _ = _ask(session, flow)
    return known[queue]


def cost_of(given: Mapping[str, Any]) -> float:
    """Return what a pass counts for: an understand pass one for each request, everything else one."""
    return max(1.0, float(len(given.get("request_ids", ()))))


def find_place(session: Session, flow: Flow) -> Place:
    """Return where the next pass of a flow comes in."""
    standing, last_of_job = _ask(session, flow)
    return standing.place(last_of_job)


def _ask(session: Session, flow: Flow) -> tuple[_Standing, float | None]:
    """Return how the flow's tenant stands in its queue, and when the newest pass of its job is due, if it waits."""
    row = session.execute(
        _PLACE,
        {
            "tenant": flow.tenant,
            "job_id": flow.job_id,
            "kind": flow.kind,
            "model": flow.model,
            "priority": flow.priority,
        },
        execution_options=ALL_TENANTS,
    ).one()
    standing = _Standing(row.weight or 1.0, row.front, row.last_of_tenant, row.rivals)
    return standing, row.last_of_job


def ready_again() -> dict[str, Any]:
    """Return the columns of a pass that becomes ready once more: at the front of its queue, since it was there."""
    return {
        "state": PassState.READY,
        "lease_until": None,
        "worker": None,
        "virtual_time": _front_of_its_queue(),
    }


def wake_waiting(session: Session) -> int:
    """Let the passes into their queues, at the front, whose time has come; return how many. Waits for nobody."""
    rested = (
        select(Pass.id)
        .where(Pass.state == READY, Pass.not_before.is_not(None), Pass.not_before <= database_now())
        .order_by(Pass.not_before)
        .limit(WAKE_PAGE)
        .with_for_update(skip_locked=True)
        .cte("rested")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    return count_moved(
        session,
        update(Pass)
        .where(Pass.id.in_(select(rested.c.id)))
        .values(not_before=None, virtual_time=_front_of_its_queue()),
    )


def _front_of_its_queue() -> ColumnElement[float]:
    other = aliased(Pass)
    front = (
        select(other.virtual_time)
        .where(other.state == READY, other.not_before.is_(None))
        .where(other.kind == Pass.kind, other.model == Pass.model, other.priority == Pass.priority)
        .order_by(other.virtual_time)
        .limit(1)
        .correlate(Pass)
    )
    return func.coalesce(front.scalar_subquery(), 0.0)


def _place() -> Select[Any]:
    """Return the query behind ``find_place``, built once: every part is a step or a few into an index."""
    in_queue = (
        Pass.state == READY,
        Pass.not_before.is_(None),
        Pass.kind == bindparam("kind"),
        Pass.model == bindparam("model"),
        Pass.priority == bindparam("priority"),
    )
    of_tenant = (*in_queue, Pass.tenant == bindparam("tenant"))
    of_job = Pass.job_id == bindparam("job_id")
    due = Pass.virtual_time
    newest_of_job = (
        select(case((Pass.not_before.is_(None) & (Pass.state == READY), due)))
        .where(of_job, Pass.kind == bindparam("kind"), Pass.model == bindparam("model"))
        .order_by(Pass.id.desc())
        .limit(1)
    )
    competing = select(Pass.job_id).where(*of_tenant).order_by(due).limit(LOOK_AHEAD).subquery()
    rivals = select(func.count(distinct(competing.c.job_id))).where(competing.c.job_id != bindparam("job_id"))
    parts = {
        "weight": select(Tenant.weight).where(Tenant.id == bindparam("tenant")),
        "front": select(due).where(*in_queue).order_by(due).limit(1),
        "last_of_job": newest_of_job,
        "last_of_tenant": select(due).where(*of_tenant).order_by(due.desc()).limit(1),
        "rivals": rivals,
    }
    return select(*(part.scalar_subquery().label(name) for name, part in parts.items()))


_PLACE = _place()
