"""Read tasks from the command line: ``caption``, ``transcribe:timestamps=word,language=en``, or options as JSON.

A value with bars is a list, ``choices=yes|no``, also of one, ``references=ID|``; a text with commas needs JSON:
``ask:{"question": "rain, or wind?"}``.
"""

from __future__ import annotations

import json
from typing import Any

from cli.errors import InvalidTask

FORM = "NAME or NAME:OPTION=VALUE,OPTION=A|B or NAME:{JSON}"


def parse_task(text: str) -> dict[str, Any]:
    """Return the task as the API takes it. Whether it exists, and its options, the API says."""
    name, colon, rest = text.partition(":")
    if rest.lstrip().startswith("{"):
        return {"task": name.strip(), "options": _from_json(text, rest)}
    options: dict[str, Any] = {}
    for pair in rest.split(",") if colon else []:
        option, equals, value = pair.partition("=")
        if not option.strip() or not equals or option.strip() in options:
            raise InvalidTask(f"{text!r} is no task: write {FORM}, each option once")
        options[option.strip()] = _value(value.strip())
    if not name.strip():
        raise InvalidTask(f"{text!r} is no task: write {FORM}")
    return {"task": name.strip(), "options": options}


def _from_json(text: str, options: str) -> dict[str, Any]:
    try:
        read: dict[str, Any] = json.loads(options)
    except json.JSONDecodeError as error:
        raise InvalidTask(f"the options of {text!r} are no JSON ({error}): write {FORM}") from None
    return read


def _value(text: str) -> Any:
    """Return true, false and numbers as such, texts between bars as a list, and anything else as text."""
    if "|" in text:
        return [part.strip() for part in text.removesuffix("|").split("|")]
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, bool | int | float) else text
