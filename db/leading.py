"""Let one process at a time look after the others: a lease by name, whose renewal is the leader's heartbeat."""

from __future__ import annotations

from sqlalchemy import or_, update
from sqlalchemy.orm import Session

from db.clock import database_now
from db.statements import count_moved, insert_missing
from db.tables import Leader


def take_lead(session: Session, name: str, holder: str, seconds: float) -> bool:
    """Lead for ``seconds`` from now on, if nobody else does; a leader calls it again in time. Says whether we lead.

    Nothing rests on there being one leader only: what a leader does may be done twice. It saves the others the work.
    """
    until = database_now(seconds)
    moved = count_moved(
        session,
        update(Leader)
        .where(Leader.name == name, or_(Leader.holder == holder, Leader.until <= database_now()))
        .values(holder=holder, until=until),
    )
    return bool(moved) or insert_missing(session, Leader, {"name": name, "holder": holder, "until": until})


def give_up_lead(session: Session, name: str, holder: str) -> None:
    """Let another process lead at once, as when we stop."""
    count_moved(
        session,
        update(Leader).where(Leader.name == name, Leader.holder == holder).values(until=database_now()),
    )
