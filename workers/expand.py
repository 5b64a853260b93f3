"""Expand one source of a job: list a prefix, or read a manifest, page by page, from where the last worker stopped."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator

from sqlalchemy.orm import Session

from db.claims import put_back
from db.expanding import (
    Expansion,
    NewSourceError,
    SourcePage,
    complete_expansion,
    load_expansion,
    take_page,
)
from db.links import NewLink
from db.states import PassKind, SourceKind
from db.waiting import is_full
from storage.errors import InputChanged
from storage.manifests import BadLine, ManifestLimits, read_manifest
from storage.selection import Selection
from storage.uploads import resolve_source
from workers.attempt import Ending
from workers.context import WorkerContext
from workers.leases import Lease

PAGE_OBJECTS = 1_000  # listed objects, or lines, of one transaction; what S3 gives at a time
SLICE_SECONDS = 30.0  # then another source has its turn
FULL_PAUSE_SECONDS = 10.0  # how long a listing rests while as many recordings wait as may


def expand(context: WorkerContext, lease: Lease) -> Ending:
    """Work on an expand pass, RELEASED where more is to be listed later.

    A crash leaves the pages that were stored, and a cursor behind them.
    """
    claim = lease.claim
    with context.database.read() as session:
        work = load_expansion(session, claim)
        has_to_rest = _is_full(context, session, claim.tenant)
    if has_to_rest:  # before anything is read: a manifest would be read from its first line
        with context.database.write() as session:
            put_back(session, claim, pause=FULL_PAUSE_SECONDS)
        return Ending.RELEASED
    ends_at = time.monotonic() + SLICE_SECONDS
    for page in _pages(context, lease, work):
        lease.check()
        with context.database.write() as session:
            if _is_full(context, session, claim.tenant):
                put_back(session, claim, pause=FULL_PAUSE_SECONDS)
                return Ending.RELEASED
            ready = take_page(
                session,
                claim,
                page,
                lease_seconds=context.settings.lease_seconds,
                most_recordings=context.settings.max_job_recordings,
            )
        if ready:
            context.doorbell.ring(PassKind.PLAN, count=ready)
        if time.monotonic() > ends_at:
            with context.database.write() as session:
                put_back(session, claim)
            context.doorbell.ring(PassKind.EXPAND)
            return Ending.RELEASED
    with context.database.write() as session:
        complete_expansion(session, claim)
    return Ending.DONE


def _is_full(context: WorkerContext, session: Session, tenant: str) -> bool:
    """Say whether the listing has to rest: what it would add is let in like jobs are, a page more at most."""
    settings = context.settings
    return is_full(session, tenant, own=settings.max_queued, total=settings.max_queued_total)


def _pages(context: WorkerContext, lease: Lease, work: Expansion) -> Iterator[SourcePage]:
    if work.kind == SourceKind.PREFIX:
        return _pages_of_prefix(context, work)
    return _pages_of_manifest(context, lease, work)


def _pages_of_prefix(context: WorkerContext, work: Expansion) -> Iterator[SourcePage]:
    """Yield pages of the listing; the cursor is the URI of the last object that was looked at."""
    selection = Selection(work.uri, work.glob, context.settings.resolved_storage_url)
    listing = context.store.list(work.uri, after=json.loads(work.cursor) if work.cursor else None)
    while found := list(itertools.islice(listing, PAGE_OBJECTS)):
        links = [
            NewLink(one.uri, version=one.version, size_bytes=one.size_bytes)
            for one in found
            if selection.refusal(one.uri) is None
        ]
        behind = json.dumps(found[-1].uri)  # a key may hold what a database cannot: escaped it is plain text
        yield SourcePage(links, behind, len(found), skipped=len(found) - len(links))


def _pages_of_manifest(context: WorkerContext, lease: Lease, work: Expansion) -> Iterator[SourcePage]:
    """Yield pages of lines; the cursor is the version of the manifest and the last line that was read."""
    settings = context.settings
    location = resolve_source(work.uri, lease.claim.tenant, settings.resolved_storage_url)
    pinned, last_line = json.loads(work.cursor) if work.cursor else (None, 0)
    info = context.store.head(location)
    if pinned not in (None, info.version):
        raise InputChanged(f"{work.uri} changed while it was read: submit it again")
    limits = ManifestLimits(settings.max_job_recordings, settings.max_manifest_bytes)
    blocks = context.store.stream(location, version=info.version)
    lines = (line for line in read_manifest(blocks, limits) if line.number > last_line)
    while found := list(itertools.islice(lines, PAGE_OBJECTS)):
        links = [
            NewLink(one.uri, one.metadata, one.tracking) for one in found if not isinstance(one, BadLine)
        ]
        errors = [
            NewSourceError(one.number, one.code, one.message) for one in found if isinstance(one, BadLine)
        ]
        behind = json.dumps([info.version, found[-1].number])
        yield SourcePage(links, behind, len(found), errors=errors)
