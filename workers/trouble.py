"""Know a failure that says nothing about the pass: a full disk, no handles left, a storage that is gone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from storage.errors import StorageError, StorageMisconfigured, StorageUnavailable
from storage.store import ObjectStore

ERRNOS = {
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.EROFS: "disk_read_only",
    errno.EMFILE: "no_file_handles",
    errno.ENFILE: "no_file_handles",
    errno.EAGAIN: "no_processes",  # what fork says at its limit
    errno.ENOMEM: "no_memory",  # what fork says; Python's own MemoryError may be the pass's fault
}
"""What an operating system says when a machine has nothing left, and the code under which passes wait for it."""

NO_THREADS = "can't start new thread"


class DiskTooSmall(Exception):
    """The object would not fit onto this machine's disk if that were empty."""

    code = "disk_too_small"
    retryable = True  # another worker may have a larger one


def trouble_of(error: BaseException) -> str | None:
    """Return the code of the trouble behind an error, or behind what caused it; None where the pass may be to blame."""
    for one in _causes(error):
        if isinstance(one, OSError) and one.errno in ERRNOS:
            return ERRNOS[one.errno]
        if one is error and isinstance(one, PermissionError):
            return "no_permission"  # of a file of ours: what a source forbids has an error of its own
        if isinstance(one, RuntimeError) and NO_THREADS in str(one):
            return "no_processes"
    return StorageMisconfigured.code if isinstance(error, StorageMisconfigured) else None


def outage_of(store: ObjectStore, error: BaseException) -> str | None:
    """Return the code of an outage behind an error: the storage that it is about does not answer for anything else.

    None where it does: the object alone may be to blame.
    """
    if not isinstance(error, StorageUnavailable) or error.uri is None:
        return None
    try:
        store.check(error.uri)
    except StorageUnavailable:
        return error.code
    except StorageError:
        return None  # a refusal is an answer
    return None


def check_room(folder: Path, size_bytes: int) -> None:
    """See before anything is fetched whether it will fit; raises ``OSError`` (ENOSPC) or ``DiskTooSmall``."""
    disk = shutil.disk_usage(folder)
    if size_bytes > disk.total:
        raise DiskTooSmall(
            f"the object has {size_bytes} bytes, the disk of {folder.parent} {disk.total}: give the worker a larger "
            "EARWITNESS_DATA_DIR"
        )
    if size_bytes > disk.free:
        raise OSError(
            errno.ENOSPC,
            f"{os.strerror(errno.ENOSPC)}: {size_bytes} bytes are needed and {disk.free} free",
            str(folder.parent),
        )


def _causes(error: BaseException) -> Iterator[BaseException]:
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
