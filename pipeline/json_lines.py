"""Take objects from the lines of a JSONL file, and name the lines that are left out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class BadLine:
    """A line that was left out: its number from 1, and why."""

    number: int
    reason: str


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return the object in a line; raises ``ValueError`` with what is wrong with it."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return found
