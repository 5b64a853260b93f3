"""Wire what a worker process needs, once, and hand it on as one value."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from db.database import Database
from db.upgrade import check_schema
from settings import Settings
from storage.router import open_store
from storage.s3_options import S3Options
from storage.store import ObjectStore
from workers.doorbell import Doorbell, open_doorbell
from workers.together import Understanding


@dataclass(frozen=True)
class WorkerContext:
    """A worker process's connections and settings."""

    name: str  # host:pid:role, as it stands in ``passes.worker``
    settings: Settings
    database: Database
    store: ObjectStore
    doorbell: Doorbell
    scratch_dir: Path  # ours alone; one private folder for each lease
    understanding: Understanding = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "understanding", Understanding(self.database))

    def close(self) -> None:
        """Close what was opened."""
        self.doorbell.close()
        self.database.close()


def open_context(settings: Settings, role: str) -> WorkerContext:
    """Open a worker's connections; raises ``DatabaseUnavailable`` and ``SchemaOutdated`` with what to do."""
    name = f"{socket.gethostname()}:{os.getpid()}:{role}"
    database = Database(settings.resolved_database_url)
    database.check()
    check_schema(database)
    for folder in (settings.data_dir, settings.scratch_dir):  # made on the way, it would be open to everybody
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return WorkerContext(
        name=name,
        settings=settings,
        database=database,
        store=open_store(settings.resolved_storage_url, roots=settings.file_roots, s3=s3_options(settings)),
        doorbell=open_doorbell(settings),
        scratch_dir=settings.scratch_dir,
    )


def s3_options(settings: Settings) -> S3Options:
    """Return the S3 options that the settings name."""
    return S3Options(
        endpoint_url=settings.s3_endpoint_url, region=settings.s3_region, path_style=settings.s3_path_style
    )
