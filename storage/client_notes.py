"""Refuse notes of clients that one of the databases could not keep, or that nobody could read back."""

from __future__ import annotations

import json
import math
from typing import Any

from storage.errors import StorageError

MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 16
MAX_TRACKING_CHARACTERS = 255


class InvalidNotes(StorageError):
    """Metadata or tracking of a client cannot be kept; ``code`` says what is wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def check_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata; raises ``InvalidNotes`` for NUL, lone surrogates, NaN, bottomless nesting, or too much."""
    waiting: list[tuple[Any, int]] = [(metadata, 1)]
    looked_at = 0
    while waiting:
        value, depth = waiting.pop()
        looked_at += 1
        # Each takes a byte at least: what is too large need not be read to its end.
        if looked_at + len(waiting) > MAX_METADATA_BYTES:
            raise InvalidNotes("metadata_too_large", f"metadata may be {MAX_METADATA_BYTES} bytes of JSON")
        if depth > MAX_METADATA_DEPTH:
            raise InvalidNotes("metadata_too_deep", f"metadata may be {MAX_METADATA_DEPTH} levels deep")
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in (*value.keys(), *value.values())]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise InvalidNotes("metadata_not_finite", "metadata may hold finite numbers only")
        elif isinstance(value, str) and not is_plain_text(value):
            raise InvalidNotes("metadata_not_text", "metadata may hold neither NUL nor lone surrogates")
    size = len(json.dumps(metadata, ensure_ascii=False).encode())
    if size > MAX_METADATA_BYTES:
        raise InvalidNotes(
            "metadata_too_large", f"metadata may be {MAX_METADATA_BYTES} bytes of JSON, not {size}"
        )
    return metadata


def check_tracking(tracking: str) -> str:
    """Return the client's own id; raises ``InvalidNotes`` unless it is 1 to 255 printable characters."""
    if not 1 <= len(tracking) <= MAX_TRACKING_CHARACTERS:
        raise InvalidNotes("tracking_length", f"tracking is 1 to {MAX_TRACKING_CHARACTERS} characters")
    if not tracking.isprintable():
        raise InvalidNotes("tracking_not_text", "tracking may hold printable characters only")
    return tracking


def is_plain_text(text: str) -> bool:
    """Say whether both databases can keep the text: it holds neither NUL nor lone surrogates."""
    return "\x00" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
