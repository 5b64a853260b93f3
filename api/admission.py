"""Refuse jobs when too many recordings wait already: of their tenant, or of all."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.problems import InvalidField
from db.waiting import count_waiting, take_turns

FRESH_SECONDS = 1.0  # how long a count serves while it is far from its limit
NEAR = 0.9  # the part of a limit above which every job is counted exactly
RETRY_SECONDS = 60


class TooManyQueued(Exception):
    """As many recordings wait as may."""

    code = "too_many_queued"
    retryable = True


@dataclass
class _Count:
    waiting: int
    limit: int
    at: float


class Admission:
    """The limits on waiting recordings, as one API process keeps them.

    Counting costs a step for every unfinished job. So far from the limit a count serves for a second, and what this
    process accepts is added to it; near the limit every accepting transaction counts, and they take turns.
    """

    def __init__(self) -> None:
        self._counts: dict[str | None, _Count] = {}
        self._lock = threading.Lock()

    def admit(
        self,
        session: Session,
        tenant: str,
        recordings: int,
        *,
        own: int,
        total: int,
        stored: bool = False,
        pending: int = 0,
    ) -> None:
        """Let ``recordings`` more of a tenant in, in the transaction that stores them, or has them ``stored``.

        ``pending`` came in with the same transaction before and are not stored yet. Raises ``TooManyQueued``, and
        ``InvalidField`` for a job that could never come in.
        """
        session.flush()
        unseen = pending - (recordings if stored else 0)
        self._admit(session, tenant, recordings, own, unseen)
        self._admit(session, None, recordings, total, unseen)

    def _admit(self, session: Session, tenant: str | None, recordings: int, limit: int, unseen: int) -> None:
        with self._lock:
            known = self._counts.get(tenant)
            fresh = known is not None and time.monotonic() - known.at < FRESH_SECONDS
            if known is not None and fresh and known.waiting + recordings <= NEAR * known.limit:
                known.waiting += recordings
                return
        count = _count(session, tenant, limit, unseen)
        if count.waiting + recordings > NEAR * count.limit:
            take_turns(session)
            count = _count(session, tenant, limit, unseen)
        if recordings > count.limit:
            raise InvalidField(
                "sources", f"{recordings} recordings are more than may wait here at once: {count.limit}"
            )
        if count.waiting + recordings > count.limit:
            whose = "of all tenants" if tenant is None else "of yours"
            raise TooManyQueued(
                f"{count.waiting} recordings {whose} are waiting, and {count.limit} may: come back when some are done"
            )
        count.waiting += recordings
        with self._lock:
            self._counts[tenant] = count


def _count(session: Session, tenant: str | None, limit: int, unseen: int) -> _Count:
    found = count_waiting(session, tenant)
    return _Count(found.recordings + unseen, found.own_limit or limit, time.monotonic())
