"""Tell trouble of the service's own storage from that of an input: no recording is to blame for a missing bucket."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial

from storage.errors import (
    InputAccessDenied,
    InputNotFound,
    InputWrongRegion,
    StorageError,
    StorageMisconfigured,
)
from storage.store import BLOCK_BYTES, ObjectInfo, ObjectStore, ObjectWriter

_REFUSALS = (InputNotFound, InputAccessDenied, InputWrongRegion)


class OwnStorage:
    """An ``ObjectStore`` over another one, in which whatever lies below ``url`` is the service's own.

    Where that cannot be reached as asked ``StorageMisconfigured`` is raised instead of what would be said of an
    input. An object that is missing while its bucket or folder is there stays ``InputNotFound``.
    """

    def __init__(self, store: ObjectStore, url: str) -> None:
        self._store, self._below = store, url.removesuffix("/") + "/"

    def head(self, uri: str) -> ObjectInfo:
        """See ``ObjectStore``."""
        with self._telling(uri, may_be_missing=True):
            return self._store.head(uri)

    def read(self, uri: str, start: int, end: int, *, version: str | None = None) -> bytes:
        """See ``ObjectStore``."""
        with self._telling(uri, may_be_missing=True):
            return self._store.read(uri, start, end, version=version)

    def stream(
        self, uri: str, *, version: str | None = None, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[bytes]:
        """See ``ObjectStore``."""
        with self._telling(uri, may_be_missing=True):
            yield from self._store.stream(uri, version=version, block_bytes=block_bytes)

    @contextmanager
    def writer(self, uri: str) -> Iterator[ObjectWriter]:
        """See ``ObjectStore``. What the block raises on its own account, such as of a source, stays what it is."""
        opened = self._store.writer(uri)
        with self._telling(uri):
            writer = opened.__enter__()
        try:
            yield _OwnWriter(writer, partial(self._telling, uri))
        except BaseException:
            if not opened.__exit__(*sys.exc_info()):
                raise
        else:
            with self._telling(uri):
                opened.__exit__(None, None, None)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """See ``ObjectStore``."""
        with self._telling(prefix):
            yield from self._store.list(prefix, after=after)

    def delete(self, uri: str) -> None:
        """See ``ObjectStore``."""
        with self._telling(uri):
            self._store.delete(uri)

    def sweep_unfinished(self, prefix: str, before: datetime) -> int:
        """See ``ObjectStore``."""
        with self._telling(prefix):
            return self._store.sweep_unfinished(prefix, before)

    def check(self, prefix: str) -> None:
        """See ``ObjectStore``."""
        with self._telling(prefix):
            self._store.check(prefix)

    @contextmanager
    def _telling(self, uri: str, *, may_be_missing: bool = False) -> Iterator[None]:
        """Say of what refuses an object of ours that the storage does, unless the object alone ``may_be_missing``."""
        try:
            yield
        except _REFUSALS as error:
            if not uri.startswith(self._below):
                raise
            cause: StorageError | None = error
            if may_be_missing and isinstance(error, InputNotFound):
                cause = self._what_place_lacks()
            if cause is None:
                raise
            raise _misconfigured(cause) from cause

    def _what_place_lacks(self) -> StorageError | None:
        """Return why our place cannot be used; None where it is there, or where who asks may not list it.

        S3 answers 404 for an object without its bucket too. Where nobody may look, the object alone counts as missing.
        """
        try:
            self._store.check(self._below)
        except InputAccessDenied:
            return None
        except (InputNotFound, InputWrongRegion) as error:
            return error
        return None


class _OwnWriter:
    """A writer of an object of ours."""

    def __init__(self, writer: ObjectWriter, telling: Callable[[], AbstractContextManager[None]]) -> None:
        self._writer, self._telling = writer, telling

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See ``ObjectWriter``."""
        with self._telling():
            self._writer.write(data)

    @property
    def info(self) -> ObjectInfo:
        """See ``ObjectWriter``."""
        return self._writer.info


def _misconfigured(error: StorageError) -> StorageMisconfigured:
    return StorageMisconfigured(f"{error} (the service's own storage: see EARWITNESS_STORAGE_URL)")
