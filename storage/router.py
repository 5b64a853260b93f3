"""Open the stores that a process needs, and send each URI to the one that holds it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path

from storage.errors import InvalidUri
from storage.folder import FolderStore
from storage.own import OwnStorage
from storage.s3_options import S3Options
from storage.store import BLOCK_BYTES, ObjectInfo, ObjectStore, ObjectWriter
from storage.uris import parse_file, parse_s3, scheme_of


class StoreRouter:
    """Be an ``ObjectStore`` for every scheme; each store is built when its first URI comes by."""

    def __init__(self, builders: Mapping[str, Callable[[], ObjectStore]]) -> None:
        self._builders = dict(builders)
        self._stores: dict[str, ObjectStore] = {}
        self._lock = threading.Lock()

    def head(self, uri: str) -> ObjectInfo:
        """See ``ObjectStore``."""
        return self._store_of(uri).head(uri)

    def read(self, uri: str, start: int, end: int, *, version: str | None = None) -> bytes:
        """See ``ObjectStore``."""
        return self._store_of(uri).read(uri, start, end, version=version)

    def stream(
        self, uri: str, *, version: str | None = None, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[bytes]:
        """See ``ObjectStore``."""
        return self._store_of(uri).stream(uri, version=version, block_bytes=block_bytes)

    def writer(self, uri: str) -> AbstractContextManager[ObjectWriter]:
        """See ``ObjectStore``."""
        return self._store_of(uri).writer(uri)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``ObjectStore``."""
        return self._store_of(prefix).list(prefix, after=after)

    def delete(self, uri: str) -> None:
        """See ``ObjectStore``."""
        self._store_of(uri).delete(uri)

    def check(self, prefix: str) -> None:
        """See ``ObjectStore``."""
        self._store_of(prefix).check(prefix)

    def sweep_unfinished(self, prefix: str, before: datetime) -> int:
        """See ``ObjectStore``."""
        return self._store_of(prefix).sweep_unfinished(prefix, before)

    def _store_of(self, uri: str) -> ObjectStore:
        scheme = scheme_of(uri)
        with self._lock:
            if scheme not in self._stores:
                self._stores[scheme] = self._build(scheme)
            return self._stores[scheme]

    def _build(self, scheme: str) -> ObjectStore:
        if scheme not in self._builders:
            raise InvalidUri(f"{scheme} objects are not enabled here: use {', '.join(self._builders)}")
        return self._builders[scheme]()


def open_store(storage_url: str, *, roots: Sequence[Path] = (), s3: S3Options | None = None) -> ObjectStore:
    """Return the store that reads every supported source and writes below ``storage_url``.

    ``storage_url`` is ``s3://bucket[/prefix]`` or ``file:///folder``; files are allowed inside that folder
    and inside ``roots``. What lies below it is the service's own (``OwnStorage``). Nothing is connected or created
    yet. Raises ``InvalidUri`` for a URL that cannot hold objects.
    """
    allowed = list(roots)
    if scheme_of(storage_url) == "file":
        allowed.append(Path(parse_file(storage_url)))
    else:
        parse_s3(storage_url, need_key=False)
    stores = StoreRouter({"file": lambda: FolderStore(allowed), "s3": lambda: _open_s3(s3 or S3Options())})
    return OwnStorage(stores, storage_url)


def _open_s3(options: S3Options) -> ObjectStore:
    # boto3 costs a tenth of a second and 30 MB, which an installation on folders never pays.
    from storage.s3 import S3Store

    return S3Store(options)
