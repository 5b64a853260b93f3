"""Name uploaded objects: clients say ``upload://ID/NAME``, and where that lies in our storage stays our affair."""

from __future__ import annotations

import os
import re
import uuid

from storage.errors import InputAccessDenied, InvalidUri
from storage.uris import SCHEMES, join, parse_file, parse_s3, scheme_of

UPLOAD_FORM = "upload://ID/NAME"
MAX_NAME_CHARACTERS = 100
MAX_URI_BYTES = 2_048  # an index entry of PostgreSQL holds 2,704 bytes, and the URI is part of a key

_PREFIX = "upload://"
_SAFE_NAME = re.compile(rf"[A-Za-z0-9_-][A-Za-z0-9._-]{{0,{MAX_NAME_CHARACTERS - 1}}}")
_UNSAFE_RUN = re.compile(r"[^A-Za-z0-9._-]+")
_NOTHING_SAFE = "audio"


def safe_name(name: str) -> str:
    """Return a file name made of ``[A-Za-z0-9._-]`` that keeps the ending and never begins with a dot.

    Folders in front of it are dropped, in the manner of both systems; a name with nothing safe in it becomes
    ``audio``.
    """
    last = re.split(r"[/\\]", name)[-1]
    stem, dot, ending = _UNSAFE_RUN.sub("-", last).rpartition(".")
    stem = (stem if dot else ending).strip(".-") or _NOTHING_SAFE
    suffix = dot + ending.strip("-")[:16] if dot and ending.strip("-") else ""
    return stem[: MAX_NAME_CHARACTERS - len(suffix)] + suffix


def upload_uri(upload_id: str, name: str) -> str:
    """Return the URI that a client uses for its upload; ``name`` comes from ``safe_name``."""
    uri = f"{_PREFIX}{upload_id}/{name}"
    parse_upload(uri)
    return uri


def parse_upload(uri: str) -> tuple[str, str]:
    """Return the id and the name; raises ``InvalidUri`` for anything that ``upload_uri`` would not have made."""
    if not uri.startswith(_PREFIX):
        raise InvalidUri(f"this is no upload: use {UPLOAD_FORM}")
    upload_id, _, name = uri[len(_PREFIX) :].partition("/")
    if not _is_uuid(upload_id):
        raise InvalidUri(f"an upload's id is a UUID: use {UPLOAD_FORM} as POST /v1/uploads returned it")
    if _SAFE_NAME.fullmatch(name) is None:
        raise InvalidUri(f"an upload's name holds letters, digits, '.', '_' and '-' only: use {UPLOAD_FORM}")
    return upload_id, name


def check_source(uri: str) -> str:
    """Return ``uri`` when it can name a source of a job: S3, file or upload; raises ``InvalidUri``.

    Whether the object exists is found out later, by the worker that reads it.
    """
    if len(uri.encode("utf-8", "surrogatepass")) > MAX_URI_BYTES:
        raise InvalidUri(f"a URI may be {MAX_URI_BYTES} bytes long")
    if not uri.isascii() and any("\ud800" <= character <= "\udfff" for character in uri):
        raise InvalidUri("a URI has to be valid Unicode")
    if uri.startswith(_PREFIX):
        parse_upload(uri)
    elif _scheme(uri) == "s3":
        parse_s3(uri)
    else:
        parse_file(uri)
    return uri


def resolve_source(uri: str, tenant: str, storage_url: str) -> str:
    """Return where a source lies: an upload of this tenant below ``storage_url``, any other URI as it is.

    Raises ``InvalidUri`` for a malformed upload. The tenant comes from whoever asks, never from the URI: nobody
    can name the upload of another tenant, nor, which raises ``InputAccessDenied``, anything else that we keep.
    """
    if not uri.startswith(_PREFIX):
        if _is_own(uri, storage_url):
            raise InputAccessDenied(f"{uri} lies in the service's own storage: use the upload:// URI")
        return uri
    return join(storage_url, "uploads", tenant, *parse_upload(uri))


def real_folder(folder_uri: str) -> str:
    """Return the path of a ``file`` URI without links, with a slash behind it."""
    return os.path.realpath(parse_file(folder_uri)).rstrip("/") + "/"


def _is_own(uri: str, storage_url: str) -> bool:
    if uri.startswith("file:") and storage_url.startswith("file:"):
        return os.path.realpath(parse_file(uri)).startswith(real_folder(storage_url))
    return uri.startswith(storage_url.rstrip("/") + "/")


def _scheme(uri: str) -> str:
    try:
        return scheme_of(uri)
    except InvalidUri as error:
        raise InvalidUri(
            f"{str(error).partition(':')[0]}: use {', '.join([*SCHEMES.values(), UPLOAD_FORM])}"
        ) from None


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text  # only the canonical spelling: an id is also a folder's name
    except ValueError:
        return False
