"""Run one attempt at a claim, and turn whatever goes wrong into what happens to its pass."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from db.claims import Claim, Failure, JobCancelled, LeaseLost, release
from db.failures import fail_pass, give_way
from settings.logs import about
from storage.errors import StorageUnavailable
from workers.context import WorkerContext
from workers.doorbell import ring_deliveries
from workers.leases import Lease, LeaseKeeper, WorkerStopping
from workers.rest import Rest
from workers.trouble import outage_of, trouble_of

logger = logging.getLogger(__name__)


class Ending(StrEnum):
    """How an attempt ended, as far as this process knows."""

    DONE = "done"
    FAILED = "failed"
    DROPPED = "dropped"  # another worker took it over, or its job was cancelled
    RELEASED = "released"  # this worker is stopping, or others have their turn first
    TROUBLED = "troubled"  # this machine has nothing left, such as room on its disk, or a storage is gone


Work = Callable[[WorkerContext, Lease], Ending | None]
"""What works on a pass, and says how that ended where it did not complete it and nothing was raised."""


def attempt(
    context: WorkerContext, keeper: LeaseKeeper, claim: Claim, work: Work, rest: Rest | None = None
) -> Ending:
    """Work on a claim under a renewed lease and say how it ended; never raises.

    A failure is stored on the pass: another attempt follows where that can help. One of the machine, or of a
    storage that answers for nothing, costs the pass no attempt. ``rest`` hears of what says something about machine
    and storage. When the process dies instead, the lease expires and the pass goes to another worker.
    """
    rest = rest or Rest(claim.kind)
    with keeper.holding(claim) as lease, about(**ids_of(claim)):
        try:
            ending = work(context, lease) or Ending.DONE
            rest.well()
            return ending
        except LeaseLost as error:
            logger.info("dropped: %s", error)
            return Ending.DROPPED
        except (JobCancelled, WorkerStopping) as error:
            # What was cancelled is retired, or handed on to a job that still wants it: it must not look held.
            logger.info("given back: %s", error)
            _guarded(context, claim, lambda: _give_back(context, claim))
            return Ending.RELEASED
        except Exception as error:  # noqa: BLE001  # whatever it is becomes the pass's failure
            failure = failure_of(error)
            if (trouble := trouble_of(error) or outage_of(context.store, error)) is not None:
                failure = Failure(trouble, f"worker {context.name}: {error}", retryable=True)
                rest.trouble(f"{trouble}: {error}")
                _guarded(context, claim, lambda: _give_way(context, claim, failure))
                return Ending.TROUBLED
            if failure.code == StorageUnavailable.code:
                rest.outage(f"{failure.code}: {failure.message}")
            elif not failure.retryable:
                rest.well()  # a verdict about the object: it was read
            log = logger.warning if hasattr(error, "code") else logger.exception
            log("%s pass %s failed: %s", claim.kind, claim.pass_id, failure.message)
            _guarded(context, claim, lambda: _report(context, claim, failure))
            return Ending.FAILED


def ids_of(claim: Claim) -> dict[str, str | None]:
    """Return the ids of a piece of work, for every line of its log."""
    return {
        "job": claim.job_id,
        "recording": claim.recording_id,
        "chunk": claim.chunk_id,
        "pass": claim.pass_id,
        "kind": claim.kind,
        "epoch": str(claim.epoch),
    }


def failure_of(error: Exception) -> Failure:
    """Return the failure that an exception means; those of our trees say their code and whether to retry."""
    code, retryable = getattr(error, "code", None), getattr(error, "retryable", None)
    if isinstance(code, str) and isinstance(retryable, bool):
        return Failure(code, str(error), retryable)
    if isinstance(error, SQLAlchemyError):
        return Failure("database_unavailable", f"the database did not take it: {error}", retryable=True)
    return Failure("internal_error", f"{type(error).__name__}: {error}", retryable=True)


def _give_back(context: WorkerContext, claim: Claim) -> None:
    with context.database.write() as session:
        release(session, claim)


def _give_way(context: WorkerContext, claim: Claim, failure: Failure) -> None:
    with context.database.write() as session:
        give_way(session, claim, failure, jitter=random.random())  # noqa: S311  # spreads retries, guards nothing
    ring_deliveries(context.doorbell, session)


def _report(context: WorkerContext, claim: Claim, failure: Failure) -> None:
    with context.database.write() as session:
        fail_pass(session, claim, failure, jitter=random.random())  # noqa: S311  # spreads retries, guards nothing
    ring_deliveries(context.doorbell, session)


def _guarded(context: WorkerContext, claim: Claim, report: Callable[[], None]) -> None:
    try:
        report()
    except (LeaseLost, JobCancelled, SQLAlchemyError) as error:
        # The lease runs out by itself, and the reconciler takes the pass back.
        logger.info("%s could not report on pass %s: %s", context.name, claim.pass_id, error)
