"""Give room back: timelines that nobody uses, uploads that no job names, and what crashes left in the storage."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from db.deleting import unused_uploads
from db.retention import (
    drop_timeline,
    find_unused_timelines,
    forget_dead_workers,
    forget_old_keys,
    named_timelines,
)
from storage.store import ObjectInfo
from storage.uploads import upload_uri
from storage.uris import join
from workers.context import WorkerContext
from workers.retire import delete_objects

logger = logging.getLogger(__name__)

OBJECTS = 1_000  # that one round looks at; the next goes on behind them
ORPHAN_HOURS = 1.0  # between an object's end and the row that names it lies one transaction
UNFINISHED_HOURS = 24.0


class Housekeeper:
    """Do one round at a time; the walks through the storage go on where the last round ended."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._timelines: Iterator[ObjectInfo] = iter(())
        self._uploads: Iterator[ObjectInfo] = iter(())

    def round(self) -> dict[str, int]:
        """Do one round; return what was given back, by kind. Any number of processes may do it at once."""
        done = {
            "timelines_dropped": self.drop_timelines(),
            "orphans": self.collect_orphans(),
            "uploads": self.collect_uploads(),
            "unfinished": self.sweep_unfinished(),
        }
        with self._context.database.write() as session:
            done |= {"keys": forget_old_keys(session), "workers": forget_dead_workers(session)}
        if any(done.values()):
            logger.info(
                "given back: %s", ", ".join(f"{name} {count}" for name, count in done.items() if count)
            )
        return done

    def drop_timelines(self) -> int:
        """Drop timelines that nobody used for the set time; a plan makes them again where they are wanted."""
        days = self._context.settings.timeline_days
        if not days:
            return 0
        with self._context.database.read() as session:
            found = find_unused_timelines(session, days)
        dropped = 0
        for recording_id in found:
            with self._context.database.write() as session:
                uri = drop_timeline(session, recording_id, days)
            if uri is not None:
                dropped += delete_objects(self._context, [uri])
        return dropped

    def collect_orphans(self, hours: float = ORPHAN_HOURS) -> int:
        """Delete timelines that no recording names: those of stale workers, and of crashes before the commit."""
        page = list(islice(self._timelines, OBJECTS))
        if len(page) < OBJECTS:
            self._timelines = self._context.store.list(self._folder("timelines"))
        old = {
            one.uri: recording_id
            for one in page
            if _is_older(one, hours) and (recording_id := _recording_of(one.uri)) is not None
        }
        with self._context.database.read() as session:
            named = named_timelines(session, set(old.values()))
        return delete_objects(self._context, [uri for uri in old if uri.rpartition("/")[2] not in named])

    def collect_uploads(self) -> int:
        """Delete uploads that no job names, some time after they came."""
        days = self._context.settings.upload_days
        page = list(islice(self._uploads, OBJECTS)) if days else []
        if len(page) < OBJECTS and days:
            self._uploads = self._context.store.list(self._folder("uploads"))
        old: dict[str, dict[str, str]] = {}  # tenant -> upload's URI -> object
        for one in page:
            if _is_older(one, days * 24):
                tenant, upload_id, name = one.uri.rsplit("/", 3)[1:]
                old.setdefault(tenant, {})[upload_uri(upload_id, name)] = one.uri
        deleted = 0
        for tenant, objects in old.items():
            with self._context.database.read() as session:
                unused = unused_uploads(session, tenant, set(objects))
            deleted += delete_objects(self._context, [objects[uri] for uri in unused])
        return deleted

    def sweep_unfinished(self) -> int:
        """Remove what writers of timelines and uploads began long ago and never finished."""
        before = datetime.now(UTC) - timedelta(hours=UNFINISHED_HOURS)
        return self._context.store.sweep_unfinished(self._folder(), before)

    def _folder(self, *names: str) -> str:
        return join(self._context.settings.resolved_storage_url, *names) + "/"


def _is_older(found: ObjectInfo, hours: float) -> bool:
    return found.modified_at < datetime.now(UTC) - timedelta(hours=hours)


def _recording_of(uri: str) -> str | None:
    """Return the recording that a timeline's name says, None for what is no timeline of ours."""
    try:
        return str(UUID(uri.rsplit("/", 2)[1]))
    except (ValueError, IndexError):
        return None
