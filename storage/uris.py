"""Read and build the URIs that name objects: ``s3://bucket/key`` and ``file:///path``.

An S3 key is opaque: it is neither unquoted nor normalised, so ``a/../b``, ``a//b`` and ``%2e`` are plain
names and two Unicode spellings of one word are two objects. A ``file`` URI follows RFC 8089: its path is
percent-encoded, and ``?`` and ``#`` in a name have to be written ``%3F`` and ``%23``. Control characters are
refused in both.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from storage.errors import InvalidUri

SCHEMES = {"s3": "s3://bucket/key", "file": "file:///path"}
MAX_KEY_BYTES = 1_024  # the limit of S3

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
# Wider than today's rule for new buckets: old ones and other servers allow capitals and underscores.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def scheme_of(uri: str) -> str:
    """Return ``s3`` or ``file``; raises ``InvalidUri`` that names the supported schemes.

    The message never repeats the URI: what arrives here by mistake is often a signed HTTPS link.
    """
    match = _SCHEME.match(uri)
    scheme = match[1].lower() if match else ""
    if scheme not in SCHEMES:
        what = f"the scheme {scheme!r} is not supported" if match else "a URI has to begin with its scheme"
        raise InvalidUri(f"{what}: use {' or '.join(SCHEMES.values())}")
    return scheme


def parse_s3(uri: str, *, need_key: bool = True) -> tuple[str, str]:
    """Return the bucket and the key, byte for byte as written; raises ``InvalidUri``."""
    if not uri.startswith("s3://"):
        raise InvalidUri("this is no S3 URI: use s3://bucket/key")
    bucket, _, key = uri[len("s3://") :].partition("/")
    if _BUCKET.fullmatch(bucket) is None:
        raise InvalidUri(
            "the bucket's name is missing or not allowed: use s3://bucket/key, with no credentials"
        )
    if need_key and not key:
        raise InvalidUri(f"s3://{bucket} names a bucket: use s3://bucket/key")
    _refuse_control_characters(key)
    if len(_utf8(key)) > MAX_KEY_BYTES:
        raise InvalidUri(f"the key in s3://{bucket} is longer than {MAX_KEY_BYTES} bytes")
    return bucket, key


def parse_file(uri: str) -> str:
    """Return the absolute path; raises ``InvalidUri``, also for a path with a ``..`` in it.

    A name that is not UTF-8 survives: percent-encoded in the URI, surrogate-escaped in the path.
    """
    host, path = _file_parts(uri)
    if host not in ("", "localhost") or not path:
        raise InvalidUri("a file URI has no host and an absolute path: use file:///path")
    if "?" in path or "#" in path:
        raise InvalidUri("a file URI has no query or fragment: write ? as %3F and # as %23")
    decoded = os.fsdecode(unquote_to_bytes(path))
    _refuse_control_characters(decoded)
    if ".." in decoded.split("/"):
        raise InvalidUri("a file URI may not climb with '..'")
    return decoded


def folder_uri(path: Path) -> str:
    """Return the ``file`` URI of a path, made absolute and percent-encoded."""
    return "file://" + quote(os.fsencode(os.path.abspath(path)))


def join(base_uri: str, *parts: str) -> str:
    """Return the URI of ``parts`` below ``base_uri``, one slash between them; ``file`` parts are encoded.

    A part is a plain name, or names with slashes between. Empty names, ``.`` and ``..`` are refused: what we
    write never climbs. Raises ``InvalidUri``.
    """
    scheme = scheme_of(base_uri)
    names = [name for part in parts for name in part.split("/")]
    for name in names:
        _refuse_control_characters(name)
        if name in ("", ".", ".."):
            raise InvalidUri(f"{name!r} cannot be a part of an object's name")
    encoded = [quote(os.fsencode(name), safe="") if scheme == "file" else name for name in names]
    return "/".join([base_uri.removesuffix("/"), *encoded])


def _file_parts(uri: str) -> tuple[str, str]:
    if not uri.startswith("file://"):
        raise InvalidUri("this is no file URI: use file:///path")
    host, slash, path = uri[len("file://") :].partition("/")
    return host, slash + path


def _utf8(key: str) -> bytes:
    try:
        return key.encode()
    except UnicodeEncodeError:
        raise InvalidUri("an S3 key has to be valid Unicode") from None


def _refuse_control_characters(text: str) -> None:
    if _CONTROL.search(text):
        raise InvalidUri("a URI may not hold control characters, such as NUL or a line break")
