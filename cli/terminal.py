"""Own the two consoles, and keep what others wrote from steering the terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

PIPED_WIDTH = 200  # what a pipe or a file gets: Rich would fold its lines at 80, in the middle of URIs


def width_of(stream: TextIO) -> int | None:
    """Return how wide to print where there is no terminal to ask; None leaves it to Rich."""
    return None if stream.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH


out = Console(width=width_of(sys.stdout))
err = Console(stderr=True, width=width_of(sys.stderr))


def plain(value: object, style: str = "") -> Text:
    """Return foreign text (a URI, a transcript) for printing: no markup, no control characters."""
    text = str(value).replace("\t", " ")
    return Text("".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text), style=style)


def our_name() -> str:
    """Return what starts this command as the user started it, for lines that are to be copied.

    After ``make run`` the command lies in ``.venv/bin`` and nowhere on the path.
    """
    started = sys.argv[0]
    return (
        started if Path(started).name == "earwitness" and shutil.which("earwitness") is None else "earwitness"
    )


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
