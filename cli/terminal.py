"""Own the two consoles, and keep what others wrote from steering the terminal."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.text import Text

out = Console()
err = Console(stderr=True)


def plain(value: object, style: str = "") -> Text:
    """Return foreign text (a URI, a transcript) for printing: no markup, no control characters."""
    text = str(value).replace("\t", " ")
    return Text("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text), style=style)


def say(message: str) -> None:
    """Tell the user what happens, on standard error: standard output is for results."""
    err.print(plain(message), highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print JSON for other programs."""
    out.print(json.dumps(value, indent=2), markup=False, highlight=False, soft_wrap=True, emoji=False)


def clock(milliseconds: int | None) -> str:
    """Return ``1:02:03.4`` for a time in a recording, to the tenth of a second."""
    if milliseconds is None:
        return "-"
    minutes, rest = divmod(milliseconds // 100, 600)
    hours, minutes = divmod(minutes, 60)
    seconds = f"{rest // 10:02}.{rest % 10}"
    return f"{hours}:{minutes:02}:{seconds}" if hours else f"{minutes}:{seconds}"
