"""List the settings as their variables would be written, without what is secret in them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from settings import PREFIX, Settings

# Greedy: a password with an @ in it that nobody encoded must not show its end.
_PASSWORD = re.compile(r"(?<=://)([^/:@]*):.*@")
_PASSWORD_QUERY = re.compile(r"(password=)[^&]*", re.IGNORECASE)


def list_settings(settings: Settings) -> Iterator[tuple[str, str, bool]]:
    """Yield each setting's variable, its value with passwords masked, and whether that is the default."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        yield f"{PREFIX}{name.upper()}", mask(shown(value)), value == field.default


def mask(text: str) -> str:
    """Hide passwords in URLs."""
    return _PASSWORD_QUERY.sub(r"\1***", _PASSWORD.sub(r"\1:***@", text))


def shown(value: object) -> str:
    """Return a value as its variable would be written."""
    if isinstance(value, tuple):
        separator = "," if all(isinstance(one, float) for one in value) else ":"  # numbers; else paths
        return separator.join(map(str, value))
    return "" if value is None else str(value)
