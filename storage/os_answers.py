"""Translate what the operating system says of files into our errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import (
    InputAccessDenied,
    InputNotFound,
    InvalidUri,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

_FACTS: dict[int, type[StorageError]] = {
    errno.ENOENT: InputNotFound,
    errno.ENOTDIR: InputNotFound,
    errno.EISDIR: InputNotFound,
    errno.EACCES: InputAccessDenied,
    errno.EPERM: InputAccessDenied,
    errno.EROFS: InputAccessDenied,
    errno.ELOOP: InputAccessDenied,
    errno.ENAMETOOLONG: InvalidUri,
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
}


@contextmanager
def translated(uri: str) -> Iterator[None]:
    """Turn an ``OSError`` into one of ours; ``uri`` is what the message names."""
    try:
        yield
    except OSError as error:
        fact = _FACTS.get(error.errno or 0, StorageUnavailable)
        raise fact(f"{uri}: {os.strerror(error.errno or errno.EIO)}", uri=uri) from error
