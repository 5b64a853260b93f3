"""Translate what S3 answers: its errors into ours, its ETags into versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from storage.errors import (
    InputAccessDenied,
    InputArchived,
    InputChanged,
    InputNotFound,
    InputWrongRegion,
    InvalidRange,
    StorageError,
    StorageUnavailable,
)

CHANGED = "it changed since it was first looked at: submit it again"

# HEAD answers have no body, so that their code is the bare status.
_FACTS: dict[str, tuple[type[StorageError], str]] = {
    # Another attempt begins a new upload: this one was swept, or completed by a request whose answer was lost.
    "NoSuchUpload": (StorageUnavailable, "its upload in parts is not there any more"),
    **dict.fromkeys(
        ("404", "NoSuchKey", "NoSuchVersion", "NotFound"),
        (InputNotFound, "there is no such object"),
    ),
    "NoSuchBucket": (InputNotFound, "there is no such bucket"),
    **dict.fromkeys(
        ("403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
         "InvalidToken", "AllAccessDisabled", "AccountProblem"),
        (InputAccessDenied, "access is denied: grant the service's credentials access to it"),
    ),
    **dict.fromkeys(
        ("301", "307", "PermanentRedirect", "AuthorizationHeaderMalformed",
         "IllegalLocationConstraintException"),
        (InputWrongRegion, "its bucket is in another region than the configured one"),
    ),
    "InvalidObjectState": (InputArchived, "it is archived: restore it and submit it again"),
    **dict.fromkeys(
        ("412", "PreconditionFailed"),
        (InputChanged, CHANGED),
    ),
    **dict.fromkeys(("416", "InvalidRange"), (InvalidRange, "it does not hold the asked bytes")),
}  # fmt: skip


@contextmanager
def translated(uri: str, keep: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn the client's exceptions into ours, but for those in ``keep``; ``uri`` is what the message names."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = str(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", ""))
        fact, text = _FACTS.get(code) or _FACTS.get(status) or (StorageUnavailable, f"the store said {code}")
        raise fact(f"{uri}: {text}", uri=uri) from error
    except keep:
        raise
    except NoCredentialsError as error:
        raise InputAccessDenied(f"{uri}: no S3 credentials are configured") from error
    except BotoCoreError as error:
        told = f"{uri}: the store did not answer ({type(error).__name__})"
        raise StorageUnavailable(told, uri=uri) from error


def version_of(etag: str) -> str:
    """Return an ETag as we keep it: without its quotes."""
    return etag.strip('"')
