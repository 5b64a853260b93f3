"""Put down a pass whose attempt failed or whose worker fell silent: ready again after a pause, or set aside for good.

As in ``claims``, every statement is guarded by the state and the epoch that it expects, and nothing commits.
"""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.claims import Claim, Failure, claim_of, lost, record_pass, still_mine
from db.clock import database_now
from db.fairness import ready_again
from db.statements import count_moved
from db.states import PassKind, PassState
from db.tables import Pass

MAX_ERRORS = 5  # reported failures that may pass with time, such as storage that does not answer
MAX_CRASHES = 3  # workers that a pass may take down before it is set aside
MAX_FAULTS = 10  # of ours, for one delivery: workers that died or failed while they had it
LONGEST_BACKOFF_SECONDS = 300.0
MOST_DOUBLINGS = 10  # beyond the longest pause
PATIENCE_SECONDS = 86_400.0  # for machines that are in trouble; what waits longer has to count its tries


def suspect_from(kind: PassKind) -> int:
    """Return from how many crashes on a pass is a suspect: one more sets it aside, so it has to be the pass's own.

    A crash counts for all that the worker held. Suspects are claimed one by one, by workers that hold nothing else
    (``db.suspects``); before that a crash costs nobody more than another attempt.
    """
    return (MAX_FAULTS if kind == PassKind.DELIVER else MAX_CRASHES) - 1


def fail_attempt(session: Session, claim: Claim, failure: Failure, *, jitter: float = 0.5) -> PassState:
    """Report a failed attempt and return what became of the pass: READY again after a pause, or FAILED.

    ``jitter`` in [0, 1] spreads the pause. The caller settles what depends on a FAILED pass in the same transaction
    (``db.failures``). Raises ``LeaseLost``.
    """
    errors = session.scalar(select(Pass.errors).where(*still_mine(claim)))
    if errors is None:
        raise lost(claim)
    again = failure.retryable and errors + 1 < MAX_ERRORS
    return _put_down(
        session, claim, failure, again=again, errors=1, crashes=0, pause=backoff_seconds(errors + 1, jitter)
    )


def put_aside(session: Session, claim: Claim, failure: Failure, *, jitter: float = 0.5) -> bool:
    """Make a pass ready again after a pause, for a reason that is not its own: the attempt does not count.

    The pause grows with the claims that there were. False, and nothing is done, when the pass is older than
    ``PATIENCE_SECONDS``. Raises ``LeaseLost``.
    """
    is_young = session.scalar(
        select(Pass.created_at > database_now(-PATIENCE_SECONDS)).where(*still_mine(claim))
    )
    if is_young is None:
        raise lost(claim)
    if not is_young:
        return False
    values = {
        **ready_again(),
        "attempts": Pass.attempts - 1,
        "error_code": failure.code,
        "error_message": failure.message,
        "not_before": database_now(backoff_seconds(claim.epoch, jitter)),
    }
    if not count_moved(session, update(Pass).where(*still_mine(claim)).values(values)):
        raise lost(claim)
    record_pass(session, claim, "pass.released", {"code": failure.code})
    return True


def find_expired(session: Session, limit: int = 100) -> list[Claim]:
    """Return the claims whose worker fell silent, the longest first; nothing is locked yet."""
    rows = session.scalars(
        select(Pass)
        .where(Pass.state == PassState.LEASED, Pass.lease_until < database_now())
        .order_by(Pass.lease_until)
        .limit(limit)
    ).all()
    return [claim_of(row, row.worker or "") for row in rows]


def count_crash(session: Session, claim: Claim, *, jitter: float = 0.5) -> tuple[PassState, Failure]:
    """Take an expired lease back: READY for another worker, or FAILED when it has taken ``MAX_CRASHES`` down.

    Raises ``LeaseLost`` when the worker has renewed, or another process was first.
    """
    crashes = session.scalar(
        select(Pass.crashes).where(*still_mine(claim), Pass.lease_until < database_now()).with_for_update()
    )
    if crashes is None:
        raise lost(claim)
    again = crashes + 1 < MAX_CRASHES
    on_what = "this" if again else "this and nothing else"
    failure = Failure(
        "worker_crashed",
        f"worker {claim.worker} stopped answering while it worked on {on_what} ({crashes + 1} of {MAX_CRASHES})",
        retryable=True,
    )
    pause = 0.0 if crashes == 0 else backoff_seconds(crashes, jitter)
    return _put_down(session, claim, failure, again=again, errors=0, crashes=1, pause=pause), failure


def _put_down(
    session: Session, claim: Claim, failure: Failure, *, again: bool, errors: int, crashes: int, pause: float
) -> PassState:
    state = PassState.READY if again else PassState.FAILED
    moved = count_moved(
        session,
        update(Pass)
        .where(*still_mine(claim))
        .values(
            state=state,
            lease_until=None,
            worker=None,
            errors=Pass.errors + errors,
            crashes=Pass.crashes + crashes,
            error_code=failure.code,
            error_message=failure.message,
            not_before=database_now(pause) if again else None,
            finished_at=None if again else database_now(),
        ),
    )
    if not moved:
        raise lost(claim)
    record_pass(session, claim, "pass.retried" if again else "pass.failed", {"code": failure.code})
    return state


def backoff_seconds(failures: int, jitter: float) -> float:
    """Return the pause after the ``failures``-th failure: 1, 2, 4 ... seconds, up to 5 minutes, halved at most."""
    doublings = min(failures - 1, MOST_DOUBLINGS)  # claims of a long listing go into the thousands
    return min(2.0**doublings, LONGEST_BACKOFF_SECONDS) * (0.5 + jitter / 2)
