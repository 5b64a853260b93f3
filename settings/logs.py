"""Write the log: one line for each event, as text or JSON, with the ids of the work that it is about, without secrets.

``about(job=..., recording=...)`` puts ids on every line that its block writes, in this thread or task. Addresses lose
their passwords and query strings on the way out. What people said or asked is not logged at all.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from settings import PREFIX

LogForm = Literal["text", "json"]

_ids: ContextVar[Mapping[str, str]] = ContextVar("ids", default=MappingProxyType({}))  # cannot change

_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]*@")
_QUERY = re.compile(r"((?:[A-Za-z][A-Za-z0-9+.-]*:/|\s|^)/[^\s?'\"<>]*)\?[^\s'\"<>)]+")
_OUR_KEY = re.compile(r"\b(ew_[0-9a-f]{4,16})_[A-Za-z0-9_-]{16,}")  # its first part names it
_BEARER = re.compile(
    r"(?i)\b(bearer\s+|(?:api[_-]?key|secret|token|password)['\"]?\s*[=:]\s*['\"]?)[^\s'\",]+"
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")  # all but the tab
_NEXT_LINE = "\n    "


@contextmanager
def about(**ids: str | None) -> Iterator[None]:
    """Put ids on every line that the block writes; what is None is left out."""
    token = _ids.set({**_ids.get(), **{name: one for name, one in ids.items() if one is not None}})
    try:
        yield
    finally:
        _ids.reset(token)


def without_secrets(text: str) -> str:
    """Return a line without the passwords and query strings of addresses, and without keys."""
    text = _PASSWORD.sub(r"\1***@", text)
    text = _QUERY.sub(r"\1?***", text)
    text = _OUR_KEY.sub(r"\1_***", text)
    return _BEARER.sub(r"\1***", text)


def _visible(text: str) -> str:
    """Return a text whose control characters and line breaks are written out, such as ``\\n``."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class _TextForm(logging.Formatter):
    """``time LEVEL [process] logger: message (job=... pass=...)``.

    What comes from outside may stand in a message or an error: lines behind the first are indented, so that none of
    them passes for an event of its own, and other control characters are written out.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        ids = " ".join(f"{name}={_visible(one)}" for name, one in _ids.get().items())
        return f"{super().formatMessage(record)} ({ids})" if ids else super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        lines = without_secrets(super().format(record)).split("\n")
        return _NEXT_LINE.join(map(_visible, lines))


class _JsonForm(logging.Formatter):
    """One JSON object a line: at, level, logger, process, message, the ids, and error with its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            "message": without_secrets(record.getMessage()),
            **_ids.get(),
        }
        if record.exc_info:
            line["error"] = without_secrets(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def configure_logging(level: str, form: LogForm = "text") -> None:
    """Log to standard error from now on, whatever was configured before."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonForm() if form == "json" else _TextForm())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(form == "json")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it speaks up at every look at the schema
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it names every address


def say_last(message: str) -> None:
    """Say in one line why this process ends, where it does for settings that cannot be read or used.

    Their variable alone decides the form, so that a log of JSON lines ends with one.
    """
    message = " ".join(message.split())
    if os.environ.get(f"{PREFIX}LOG") == "json":
        configure_logging("CRITICAL", "json")
        logging.getLogger(__name__).critical(message)
    else:
        print(message, file=sys.stderr)
