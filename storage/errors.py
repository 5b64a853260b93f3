"""Name everything that can go wrong with an object, with a stable code and whether a retry can help.

Messages hold the URI that we were given, never an exception text of a client library: those can carry signed
URLs or endpoints with credentials.
"""

from __future__ import annotations


class StorageError(Exception):
    """An object could not be reached as asked."""

    code = "storage_error"
    retryable = False

    def __init__(self, message: str, *, uri: str | None = None) -> None:
        super().__init__(message)
        self.uri = uri  # what was asked for, where the store knows it


class InvalidUri(StorageError):
    """The URI does not name an object that any store could hold."""

    code = "invalid_uri"


class InvalidRange(StorageError):
    """The asked bytes lie outside the object."""

    code = "invalid_range"


class InputNotFound(StorageError):
    """There is no such object."""

    code = "input_not_found"


class InputAccessDenied(StorageError):
    """The object may not be read or written with the credentials or roots that we have."""

    code = "input_access_denied"


class InputWrongRegion(StorageError):
    """The bucket lives in another region than the configured one."""

    code = "input_wrong_region"


class InputArchived(StorageError):
    """The object lies in an archive tier and has to be restored before it can be read."""

    code = "input_archived"


class InputChanged(StorageError):
    """The object is no longer the version that was asked for."""

    code = "input_changed"


class StorageUnavailable(StorageError):
    """The store did not answer, or broke off, until all tries were used."""

    code = "storage_unavailable"
    retryable = True


class StorageFull(StorageUnavailable):
    """The store has no room for another byte."""

    code = "storage_full"


class StorageMisconfigured(StorageError):
    """The service's own storage is not there, or may not be used: no object and no recording is to blame."""

    code = "storage_misconfigured"
    retryable = True
