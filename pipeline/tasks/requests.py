"""Check requests, and give equal requests one key."""

from __future__ import annotations

import itertools
import json
from collections.abc import Collection, Mapping
from hashlib import sha256
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from pipeline.tasks import get_task
from pipeline.tasks.task import ASKED, TaskOptions

MOST_UNKNOWN = 10  # names of one object that are refused one by one


def validate_request(task_name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that somebody asks with, as JSON data with every default filled in.

    Raises ``UnknownTask``, or pydantic's ``ValidationError`` whose ``loc`` names the option; for an option that does
    not exist its message lists those that do.
    """
    known: type[TaskOptions] = get_task(task_name).Options
    try:
        named = without_most_unknown(dict(options), known.model_fields)
        return known.model_validate(named, context=ASKED).model_dump(mode="json")
    except ValidationError as error:
        details = [_naming_the_known(detail, list(known.model_fields)) for detail in error.errors()]
        raise ValidationError.from_exception_data(task_name, details) from None


def without_most_unknown(value: Any, known: Collection[str]) -> Any:
    """Return an object with what is known and the first unknown names: each becomes an error, and those are dear."""
    if not isinstance(value, dict) or len(value) <= len(known) + MOST_UNKNOWN:
        return value
    unknown = set(itertools.islice((name for name in value if name not in known), MOST_UNKNOWN))
    return {name: one for name, one in value.items() if name in known or name in unknown}


def request_key(task_name: str, options: Mapping[str, Any], model: str) -> str:
    """Return the SHA-256 of what decides an answer besides the audio: 64 hexadecimal digits.

    ``model`` names the weights. Options are checked and completed first, so that leaving a default out and
    writing it down are one request. Raises as ``validate_request``.
    """
    identity = {
        "task": task_name,
        "options": validate_request(task_name, options),
        "model": model,
        "prompt_version": get_task(task_name).prompt_version,
    }
    canonical = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return sha256(canonical.encode("utf-8")).hexdigest()


def _naming_the_known(detail: ErrorDetails, known: list[str]) -> InitErrorDetails:
    # Rebuilt as a custom error in every case: pydantic cannot take its own details back when a validator raised them.
    kind, reason = detail["type"], detail["msg"]
    if kind == "extra_forbidden":
        kind, reason = "unknown_option", f"no such option: choose from {', '.join(known)}"
    error = PydanticCustomError(kind, "{reason}", {"reason": reason})
    return InitErrorDetails(type=error, loc=detail["loc"], input=detail["input"])
