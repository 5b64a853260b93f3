"""Keep the table of the processes that work: each writes its own row again and again, and removes it when it ends well.

So a row that is seen no more is of a process that fell silent, and one that is not there ended in its own way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.statements import count_moved, insert_of
from db.tables import Worker

LOADING = "loading"  # the code of a worker that is about to hear: no trouble, and no rest
ALIVE_SECONDS = 60.0  # a worker that has neither claimed nor polled for so long is not alive
FORGET_SECONDS = 24 * 3600.0  # silent workers stay in the table for a day


@dataclass(frozen=True)
class WorkerReport:
    """What a process says of itself; ``numbers`` are what it and its engine count, by flat names."""

    name: str  # as in ``passes.worker``
    kind: str  # cpu, gpu, chat
    host: str
    pid: int
    device: str | None = None
    model: str = ""
    places: int = 0
    held: int = 0
    draining: bool = False
    trouble: str | None = None  # why it rests, or that it loads: a code, and more behind a colon
    numbers: Mapping[str, float] = field(default_factory=dict)


def report_worker(session: Session, report: WorkerReport) -> None:
    """Write the row of a worker, new or known, as seen now."""
    row = {**vars(report), "numbers": dict(report.numbers)}
    changed = {name: value for name, value in row.items() if name != "name"}
    session.execute(
        insert_of(session, Worker)
        .values(**row, seen_at=database_now())
        .on_conflict_do_update(index_elements=["name"], set_={**changed, "seen_at": database_now()})
    )


def remove_worker(session: Session, name: str) -> None:
    """Take the row of a worker away that ends in its own way; rows that were silent for a day go with it."""
    gone = (Worker.name == name) | (Worker.seen_at < database_now(-FORGET_SECONDS))
    count_moved(session, delete(Worker).where(gone))


def list_workers(session: Session) -> Sequence[tuple[Worker, bool]]:
    """Return all workers by kind and name, each with whether it is alive."""
    rows = session.execute(select(Worker, _is_alive()).order_by(Worker.kind, Worker.name))
    return [(worker, bool(lives)) for worker, lives in rows]


def list_served(session: Session) -> Sequence[str]:
    """Return the models that live workers serve or load; those that are about to end do not count."""
    return session.scalars(
        select(Worker.model).where(_is_alive(), Worker.model != "", Worker.draining.is_(False)).distinct()
    ).all()


def list_loading(session: Session) -> Set[str]:
    """Return the models that live workers load and that none serves yet."""
    rows = session.execute(
        select(Worker.model, Worker.trouble).where(
            _is_alive(), Worker.model != "", Worker.draining.is_(False)
        )
    ).all()
    return {model for model, _ in rows} - {model for model, trouble in rows if not is_loading(trouble)}


def is_loading(trouble: str | None) -> bool:
    """Say whether a worker of this trouble loads its model."""
    return trouble is not None and code_of(trouble) == LOADING


def code_of(trouble: str) -> str:
    """Return the code in front of a trouble."""
    return trouble.partition(":")[0]


def list_troubles(session: Session) -> dict[str, str]:
    """Return the kinds of workers of which every live one rests, each with the code of why."""
    rows = session.execute(select(Worker.kind, Worker.trouble).where(_is_alive(), Worker.draining.is_(False)))
    by_kind: dict[str, list[str | None]] = {}
    for kind, trouble in rows:
        by_kind.setdefault(kind, []).append(None if is_loading(trouble) else trouble)
    return {
        kind: code_of(troubles[0])
        for kind, troubles in by_kind.items()
        if troubles[0] is not None and None not in troubles
    }


def _is_alive() -> ColumnElement[bool]:
    """Return the condition under which a worker is alive."""
    return Worker.seen_at > database_now(-ALIVE_SECONDS)
