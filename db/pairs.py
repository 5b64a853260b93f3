"""Weigh the (chunk, request) pairs of a recording: which are answered, under way, failed, or in nobody's hands."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.states import OPEN_PASS_STATES, PassKind, PassState
from db.tables import Pass, Result

Pair = tuple[str, str]
"""(chunk id, request id)."""


@dataclass(frozen=True)
class Pairs:
    """Where the pairs of a recording stand; what is in none of these sets is missing: nobody works on it."""

    answered: frozenset[Pair]
    under_way: frozenset[Pair]
    failed: frozenset[Pair]

    def missing(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Return those of ``pairs`` that have neither an answer, nor an open pass, nor a failed one."""
        known = self.answered | self.under_way | self.failed
        return [pair for pair in pairs if pair not in known]


@dataclass(frozen=True)
class PassFacts:
    """What the weighing wants to know of an understand pass."""

    chunk_id: str
    request_ids: Sequence[str]
    state: str


def weigh(answered: Collection[Pair], passes: Iterable[PassFacts]) -> Pairs:
    """Weigh pairs by their answers and by their passes, the oldest pass first.

    A pair has failed when its newest pass has: one that was cancelled after a retry took it up is missing again.
    """
    under_way: set[Pair] = set()
    newest: dict[Pair, str] = {}
    for one in passes:
        pairs = [(one.chunk_id, request_id) for request_id in one.request_ids]
        newest.update(dict.fromkeys(pairs, one.state))
        if one.state in OPEN_PASS_STATES:
            under_way.update(pairs)
    done = frozenset(answered)
    failed = {pair for pair, state in newest.items() if state == PassState.FAILED}
    return Pairs(done, frozenset(under_way - done), frozenset(failed - done - under_way))


def load_pairs(session: Session, recording_id: str, request_ids: Collection[str]) -> Pairs:
    """Weigh the pairs of some requests on a recording.

    The caller holds the recording's row lock, so that nobody opens or cancels passes meanwhile.
    """
    answered = session.execute(
        select(Result.chunk_id, Result.request_id).where(
            Result.recording_id == recording_id, Result.request_id.in_(request_ids)
        )
    )
    passes = session.execute(
        select(Pass.chunk_id, Pass.request_ids, Pass.state)
        .where(Pass.recording_id == recording_id, Pass.kind == PassKind.UNDERSTAND)
        .order_by(Pass.id)
    )
    wanted = set(request_ids)
    return weigh(
        {(row.chunk_id, row.request_id) for row in answered},
        (
            PassFacts(row.chunk_id, [one for one in row.request_ids if one in wanted], row.state)
            for row in passes
        ),
    )
