"""Settle what depends on a pass that failed for good, in the transaction that fails it."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from db.claims import Claim, Failure, lock_job_of
from db.delivering import retake_delivery
from db.setbacks import count_crash, fail_attempt, put_aside
from db.settling import Outcome, close_source, settle_recording
from db.statements import count_moved
from db.states import LinkState, PassKind, PassState, RecordingState
from db.tables import JobRecording, Recording
from db.understanding import count_chunk


def fail_pass(session: Session, claim: Claim, failure: Failure, *, jitter: float = 0.5) -> PassState:
    """Report a failed attempt; when no attempt is left, close what waits for it.

    Raises ``LeaseLost`` and ``JobCancelled``.
    """
    if claim.kind == PassKind.DELIVER:
        return retake_delivery(session, claim, failure, jitter=jitter)
    claim = lock_job_of(session, claim, exclusive=claim.kind != PassKind.UNDERSTAND)
    state = fail_attempt(session, claim, failure, jitter=jitter)
    if state == PassState.FAILED:
        _settle(session, claim, failure)
    return state


def give_way(session: Session, claim: Claim, failure: Failure, *, jitter: float = 0.5) -> PassState:
    """Put down a pass because its worker's machine is in trouble: no attempt counts, unless the pass is a day old.

    So nothing is lost while a disk is full, and nothing is tried without end. Raises ``LeaseLost``, and what
    ``fail_pass`` raises.
    """
    if put_aside(session, claim, failure, jitter=jitter):
        return PassState.READY
    return fail_pass(session, claim, failure, jitter=jitter)


def return_expired(session: Session, claim: Claim, *, jitter: float = 0.5) -> PassState:
    """Take back the pass of a worker that fell silent. Any process may call it; raises ``LeaseLost`` if it was late."""
    if claim.kind == PassKind.DELIVER:
        silent = Failure("worker_crashed", f"worker {claim.worker} stopped answering", retryable=True)
        return retake_delivery(session, claim, silent, expired=True, jitter=jitter)
    claim = lock_job_of(session, claim, exclusive=claim.kind != PassKind.UNDERSTAND)
    state, failure = count_crash(session, claim, jitter=jitter)
    if state == PassState.FAILED:
        _settle(session, claim, failure)
    return state


def _settle(session: Session, claim: Claim, failure: Failure) -> None:
    if claim.kind == PassKind.UNDERSTAND:
        count_chunk(session, claim, failed=True)
        return
    if claim.kind == PassKind.EXPAND:
        assert claim.source_id is not None  # an expand pass is always of one source
        error = (failure.code, failure.message)
        close_source(session, claim.job_id, claim.source_id, error, actor=claim.worker)
        return
    if claim.job_recording_id is None:
        return  # nothing waits for it but the reconciler, which opens it again
    if claim.kind == PassKind.PLAN:
        _mark_invalid(session, claim, failure)
    outcome = Outcome(LinkState.FAILED, failure.code, failure.message)
    settle_recording(session, claim.job_id, claim.job_recording_id, outcome, actor=claim.worker)


def _mark_invalid(session: Session, claim: Claim, failure: Failure) -> None:
    recording_id = select(JobRecording.recording_id).where(JobRecording.id == claim.job_recording_id)
    count_moved(
        session,
        update(Recording)
        .where(Recording.id == recording_id.scalar_subquery(), Recording.state == RecordingState.NEW)
        .values(state=RecordingState.INVALID, error_code=failure.code, error_message=failure.message),
    )
