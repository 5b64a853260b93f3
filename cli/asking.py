"""Read tasks from the command line: ``caption`` or ``transcribe:timestamps=word,language=en``."""

from __future__ import annotations

import json
from typing import Any

from cli.errors import InvalidTask

FORM = "NAME or NAME:OPTION=VALUE,OPTION=VALUE"


def parse_task(text: str) -> dict[str, Any]:
    """Return the task as the API takes it. Whether it exists, and its options, the API says."""
    name, colon, rest = text.partition(":")
    options: dict[str, Any] = {}
    for pair in rest.split(",") if colon else []:
        option, equals, value = pair.partition("=")
        if not option.strip() or not equals or option.strip() in options:
            raise InvalidTask(f"{text!r} is no task: write {FORM}, each option once")
        options[option.strip()] = _value(value.strip())
    if not name.strip():
        raise InvalidTask(f"{text!r} is no task: write {FORM}")
    return {"task": name.strip(), "options": options}


def _value(text: str) -> Any:
    """Return true, false and numbers as such, and anything else as text."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text
