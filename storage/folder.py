"""Keep objects as files below a few allowed folders.

A crash while writing leaves a hidden ``.earwitness-*.part`` file behind, which no listing shows and
``sweep_unfinished`` removes. Two objects
cannot be named ``a`` and ``a/b`` here, as they can in S3; an empty folder may stay when its last object is
deleted.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from storage.errors import InputAccessDenied, InputChanged, InputNotFound, InvalidRange, InvalidUri
from storage.os_answers import translated
from storage.store import BLOCK_BYTES, ObjectInfo
from storage.uris import folder_uri, parse_file

logger = logging.getLogger(__name__)

_PART_PREFIX, _PART_SUFFIX = ".earwitness-", ".part"


class FolderStore:
    """Store objects under ``file:///`` URIs; whatever lies outside ``roots``, also by a link, is denied."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = [Path(os.path.realpath(root)) for root in roots]

    def head(self, uri: str) -> ObjectInfo:
        """Return size, version and time of a file; see ``ObjectStore``."""
        with self._open(uri) as file:
            return _info(uri, os.fstat(file.fileno()))

    def read(self, uri: str, start: int, end: int, *, version: str | None = None) -> bytes:
        """Return a byte range of a file; see ``ObjectStore``."""
        if not 0 <= start <= end:
            raise InvalidRange(f"bytes {start} to {end} are no range")
        if start == end:
            return b""
        with self._open(uri) as file:
            info = _check_version(_info(uri, os.fstat(file.fileno())), version)
            if end > info.size_bytes:
                raise InvalidRange(f"{uri} holds {info.size_bytes} bytes, not {start} to {end}")
            with translated(uri):
                file.seek(start)
                return _read_exactly(file, end - start, uri)

    def stream(
        self, uri: str, *, version: str | None = None, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[bytes]:
        """Yield a file in blocks; see ``ObjectStore``."""
        with self._open(uri) as file:
            info = _check_version(_info(uri, os.fstat(file.fileno())), version)
            for start in range(0, info.size_bytes, block_bytes):
                with translated(uri):
                    block = _read_exactly(file, min(block_bytes, info.size_bytes - start), uri)
                yield block
            _check_version(_info(uri, os.fstat(file.fileno())), info.version)

    @contextmanager
    def writer(self, uri: str) -> Iterator[_FolderWriter]:
        """Write a file beside its place and rename it there; see ``ObjectStore``."""
        path = self._resolve(uri)
        if uri.endswith("/") or path in self._roots:
            raise InvalidUri(f"{uri} names a folder")
        with translated(uri):
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = _FolderWriter(uri, path)
        try:
            yield writer
            with translated(uri):
                writer.commit()
        except BaseException:
            writer.abort()
            raise

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the files whose URI begins with ``prefix``; links to folders are not followed."""
        path = parse_file(prefix)
        if Path(os.path.realpath(path)) in self._roots:
            path = path.rstrip("/") + "/"
        folder, _, name = path.rpartition("/")
        self._resolve(folder_uri(Path(folder or "/")))
        start = os.fsencode(folder) + b"/"
        behind = b"" if after is None else os.fsencode(parse_file(after)).removeprefix(start)
        for found, status in _walk(start, os.fsencode(name), behind):
            uri = "file://" + quote(found)
            if status is not None:
                yield _info(uri, status)
                continue
            # A link that leads outside is not ours to show, nor one that leads to a folder.
            with suppress(InputNotFound, InputAccessDenied, InvalidUri):
                yield self.head(uri)

    def delete(self, uri: str) -> None:
        """Remove a file; see ``ObjectStore``."""
        path = self._resolve(uri, follow=False)
        with translated(uri), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()

    def check(self, prefix: str) -> None:
        """Look for the folder, or for the last one above it that is there; see ``ObjectStore``."""
        path = self._resolve(prefix)
        with translated(prefix):
            there = next(one for one in (path, *path.parents) if one.exists())
        if not there.is_dir():
            raise InputNotFound(f"{prefix}: {there} is no folder")

    def sweep_unfinished(self, prefix: str, before: datetime) -> int:
        """Remove hidden files that writers left; see ``ObjectStore``."""
        folder = self._resolve(prefix)
        swept = 0
        for part in folder.rglob(f"{_PART_PREFIX}*{_PART_SUFFIX}") if folder.is_dir() else ():
            try:
                if datetime.fromtimestamp(part.stat().st_mtime, UTC) < before:
                    part.unlink()
                    swept += 1
            except FileNotFoundError:  # its writer has ended at this moment
                continue
            except OSError as error:  # one that stays is no reason to leave the others
                logger.warning("an unfinished file stays, it cannot be removed: %s", error)
        return swept

    def _resolve(self, uri: str, *, follow: bool = True) -> Path:
        """Return the real path, or refuse it; ``follow=False`` keeps a link in the last place."""
        named = Path(parse_file(uri))
        with translated(uri):
            real = Path(os.path.realpath(named if follow else named.parent))
        path = real if follow else real / named.name
        if not any(path.is_relative_to(root) for root in self._roots):
            raise InputAccessDenied(f"{uri} lies outside the folders that this service may use")
        return path

    def _open(self, uri: str) -> BinaryIO:
        """Open a regular file for reading.

        The path was resolved a moment ago; walking it without following links keeps a link that is swapped in
        meanwhile from leading outside.
        """
        path = self._resolve(uri)
        with translated(uri):
            descriptor = _open_without_links(path)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise InputNotFound(f"{uri} is not a file")
        return os.fdopen(descriptor, "rb", buffering=0)


class _FolderWriter:
    """Fill a hidden file beside the object's place; ``commit`` moves it there."""

    def __init__(self, uri: str, path: Path) -> None:
        self._uri, self._path = uri, path
        self._part = path.with_name(f"{_PART_PREFIX}{secrets.token_hex(8)}{_PART_SUFFIX}")
        self._file = open(self._part, "xb", buffering=0)  # noqa: SIM115 - commit and abort close it
        self._info: ObjectInfo | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        view = memoryview(data).cast("B")
        with translated(self._uri):
            while view:
                view = view[self._file.write(view) :]

    @property
    def info(self) -> ObjectInfo:
        """The finished object."""
        if self._info is None:
            raise RuntimeError("the object is not finished before the with block has ended")
        return self._info

    def commit(self) -> None:
        """Make the object visible, safely on the disk: first its bytes, then its name."""
        os.fsync(self._file.fileno())
        self._info = _info(self._uri, os.fstat(self._file.fileno()))
        os.replace(self._part, self._path)
        self._file.close()
        _sync_folder(self._path.parent)

    def abort(self) -> None:
        """Leave nothing behind."""
        self._file.close()
        self._part.unlink(missing_ok=True)


def _info(uri: str, status: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        uri=uri,
        size_bytes=status.st_size,
        version=f"{status.st_size}-{status.st_mtime_ns}-{status.st_ino}",
        modified_at=datetime.fromtimestamp(status.st_mtime_ns / 1e9, UTC),
    )


def _check_version(info: ObjectInfo, version: str | None) -> ObjectInfo:
    if version not in (None, info.version):
        raise InputChanged(f"{info.uri} changed since it was first looked at: submit it again")
    return info


def _read_exactly(file: BinaryIO, count: int, uri: str) -> bytes:
    blocks: list[bytes] = []
    while count:
        block = file.read(count)
        if not block:
            raise InputChanged(f"{uri} became shorter while it was read")
        blocks.append(block)
        count -= len(block)
    return blocks[0] if len(blocks) == 1 else b"".join(blocks)


def _open_without_links(path: Path) -> int:
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in path.parts[1:-1]:
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: opening a named pipe must not wait for its other end.
        return os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)


def _walk(folder: bytes, name_prefix: bytes, after: bytes) -> Iterator[tuple[bytes, os.stat_result | None]]:
    """Yield the paths below ``folder`` in the order of S3: a folder sorts as its name with a slash.

    Only what comes behind ``after``, a path below the folder; folders that lie wholly before it are not read. A file
    comes with its status, a link without. One folder's names are held at a time, and those of the folders above.
    """
    uri = f"file://{quote(folder)}"
    try:
        with translated(uri), os.scandir(folder) as scan:
            entries = [
                entry.name + b"/" if entry.is_dir(follow_symlinks=False) else entry.name
                for entry in scan
                if entry.name.startswith(name_prefix)
            ]
    except InputNotFound:  # it is gone, or was never there
        return
    entries.sort(reverse=True)
    while entries:  # popped, so that the names behind us cost no memory
        name = entries.pop()
        if name.endswith(b"/"):
            if after < name or after.startswith(name):
                yield from _walk(folder + name, b"", after[len(name) :] if after.startswith(name) else b"")
        elif name > after and not _is_part(name):
            try:
                with translated(f"{uri}{quote(name)}"):
                    status = os.stat(folder + name, follow_symlinks=False)
            except InputNotFound:  # it can vanish before we look at it
                continue
            if stat.S_ISREG(status.st_mode):
                yield folder + name, status
            elif stat.S_ISLNK(status.st_mode):
                yield folder + name, None


def _is_part(name: bytes) -> bool:
    return name.startswith(_PART_PREFIX.encode()) and name.endswith(_PART_SUFFIX.encode())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
