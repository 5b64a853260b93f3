"""Clear up after a job that was cancelled or deleted: page by page, so that it can go on where another worker died."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from db.cancelling import lock_retired, retire_page
from db.claims import hold
from db.deleting import Removed, is_expired, remove_page, remove_rest
from db.states import JobState
from storage.errors import StorageError
from storage.uploads import resolve_source
from workers.context import WorkerContext
from workers.leases import Lease

logger = logging.getLogger(__name__)

PAUSE_SECONDS = 0.2  # before another look at a job whose row was in use


def retire(context: WorkerContext, lease: Lease) -> None:
    """Work on a retire pass. A crash leaves pages that are done; perhaps objects that the reconciler finds later."""
    while not _close_page(context, lease):
        lease.check()
    while True:
        with context.database.write() as session:
            job = lock_retired(session, lease.claim)
            if not is_expired(session, job):
                hold(session, lease.claim)
                return
            removed = remove_page(session, job)
            is_last = not removed.links
            if is_last:
                removed = remove_rest(session, job, lease.claim)
        _delete_objects(context, lease, removed)
        if is_last:
            return
        lease.check()


def _close_page(context: WorkerContext, lease: Lease) -> bool:
    """Cancel a page of what is open, and say whether nothing is left."""
    with context.database.write() as session:
        job = lock_retired(session, lease.claim)
        if job.state != JobState.CANCELLED:
            return True
        retired = retire_page(session, job, actor=context.name)
    if retired.waits:
        time.sleep(PAUSE_SECONDS)
    return retired.is_over


def _delete_objects(context: WorkerContext, lease: Lease, removed: Removed) -> None:
    storage_url, tenant = context.settings.resolved_storage_url, lease.claim.tenant
    delete_objects(
        context, [*removed.timelines, *(resolve_source(uri, tenant, storage_url) for uri in removed.uploads)]
    )


def delete_objects(context: WorkerContext, uris: Sequence[str]) -> int:
    """Delete objects that no row names any more; what the storage does not delete now is found again later."""
    deleted = 0
    for uri in uris:
        try:
            context.store.delete(uri)
            deleted += 1
        except StorageError as error:
            logger.warning("an object that nobody needs stays for now: %s", error)
    return deleted
