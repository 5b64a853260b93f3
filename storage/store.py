"""Say what every object store can do, whatever holds the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

BLOCK_BYTES = 8 * 1024 * 1024  # one ranged read of a stream


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows about an object without reading it."""

    uri: str
    size_bytes: int
    version: str  # opaque: changes whenever the content may have changed (S3: the ETag)
    modified_at: datetime  # aware, UTC; S3 counts in seconds


class ObjectWriter(Protocol):
    """Take the bytes of one object in order; nothing is visible before the ``with`` block ends well."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``; it may be reused by the caller afterwards."""

    @property
    def info(self) -> ObjectInfo:
        """The finished object; only after the ``with`` block."""


class ObjectStore(Protocol):
    """Hold objects by URI. Safe to share between threads; every method raises the ``StorageError`` tree."""

    def head(self, uri: str) -> ObjectInfo:
        """Return what is known of the object; raises ``InputNotFound`` when it is absent."""

    def read(self, uri: str, start: int, end: int, *, version: str | None = None) -> bytes:
        """Return exactly the bytes ``start`` to ``end`` (half open).

        Raises ``InvalidRange`` when the object does not hold them all, ``InputChanged`` when it is no longer
        ``version``. An empty range is ``b""`` and asks nobody.
        """

    def stream(
        self, uri: str, *, version: str | None = None, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[bytes]:
        """Yield the whole object in blocks of ``block_bytes``, the last one shorter.

        All blocks are of one version: ``version``, or the one found at the start; ``InputChanged`` when the
        object changes meanwhile. Errors come with the first block, not with the call.
        """

    def writer(self, uri: str) -> AbstractContextManager[ObjectWriter]:
        """Open a writer; when its block ends the object appears whole, when it raises nothing is left behind.

        An existing object is replaced, atomically.
        """

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects whose name begins with that in ``prefix``, in the order of their names' bytes.

        As in S3 the prefix is text: ``.../a`` finds ``a``, ``ab`` and ``a/b``; a slash ends a folder. ``after`` is
        the URI of an object, which need not exist any more: the listing goes on behind it.
        """

    def delete(self, uri: str) -> None:
        """Remove the object; removing what is absent is no error."""

    def check(self, prefix: str) -> None:
        """Return when there is a bucket, a folder, or room for a folder, that can hold what lies below ``prefix``.

        Raises ``InputNotFound`` when there is none: ``head`` cannot tell that from an object that is absent.
        """

    def sweep_unfinished(self, prefix: str, before: datetime) -> int:
        """Remove what writers below ``prefix`` began before that instant and never finished; return how many.

        A crash leaves such: they are in no listing, and take room.
        """
