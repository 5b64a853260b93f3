"""Say what has had its time: timelines that nobody used for long, objects without a row, keys and workers of old."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.idempotency import KEPT_SECONDS
from db.statements import count_moved
from db.states import OPEN_PASS_STATES, PassKind
from db.tables import IdempotencyKey, Pass, Recording, Worker
from db.workers import FORGET_SECONDS

PAGE = 100  # timelines that one round drops


def find_unused_timelines(session: Session, days: float, limit: int = PAGE) -> Sequence[str]:
    """Return the recordings whose timelines nobody used for so long, the longest unused first."""
    return session.scalars(
        select(Recording.id)
        .where(Recording.timeline_uri.is_not(None), Recording.timeline_used_at < database_now(-days * 86_400))
        .order_by(Recording.timeline_used_at)
        .limit(limit)
    ).all()


def drop_timeline(session: Session, recording_id: str, days: float) -> str | None:
    """Forget a timeline, and return the object to delete once that has committed; None when it is in use after all.

    Takes the lock under which passes are opened, so that nothing is opened on a timeline that goes.
    """
    recording = session.scalars(
        select(Recording)
        .where(Recording.id == recording_id, Recording.timeline_used_at < database_now(-days * 86_400))
        .with_for_update(key_share=True)
    ).first()
    in_use = exists().where(
        Pass.recording_id == recording_id,
        Pass.kind == PassKind.UNDERSTAND,
        Pass.state.in_(OPEN_PASS_STATES),
    )
    if recording is None or recording.timeline_uri is None or session.scalar(select(in_use)):
        return None
    uri, recording.timeline_uri = recording.timeline_uri, None
    session.flush()
    return uri


def named_timelines(session: Session, recording_ids: Collection[str]) -> set[str]:
    """Return the last names of the timelines that these recordings have: each is used once, whatever lies before it."""
    found = session.scalars(
        select(Recording.timeline_uri).where(
            Recording.id.in_(recording_ids), Recording.timeline_uri.is_not(None)
        )
    )
    return {uri.rpartition("/")[2] for uri in found if uri is not None}


def forget_old_keys(session: Session) -> int:
    """Remove idempotency keys whose time is over; return how many."""
    return count_moved(
        session, delete(IdempotencyKey).where(IdempotencyKey.created_at < database_now(-KEPT_SECONDS))
    )


def forget_dead_workers(session: Session) -> int:
    """Remove the rows of workers that have long been silent; return how many."""
    return count_moved(session, delete(Worker).where(Worker.seen_at < database_now(-FORGET_SECONDS)))
