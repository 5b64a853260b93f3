"""Show how far a long piece of work is: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

PLAIN_SECONDS = 10.0  # between two lines where there is no terminal


class Meter:
    """Counts lines up to ``total``; ``done`` of them were there before and say nothing about the rate."""

    def __init__(
        self, console: Console, total: int, done: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console, self._clock = console, clock
        self._total, self._done, self._new = total, done, 0
        self._began = self._told = clock()
        self._bar = Progress(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[pace]}"), console=console
        )
        self._row = self._bar.add_task("", total=total, completed=done, pace="")

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._console.is_terminal:  # a bar that never began would print an empty line
            self._bar.stop()

    @property
    def pace(self) -> str:
        """Lines per second since the start, and the time that the rest takes at this rate."""
        rate = self._new / max(self._clock() - self._began, 1e-9)
        if not self._new:
            return ""
        left = timedelta(seconds=round((self._total - self._done - self._new) / rate))
        return f"{rate:.2f} lines/s, {left} left"

    def advance(self) -> None:
        """Count one line."""
        self._new += 1
        if self._console.is_terminal:
            self._bar.update(self._row, advance=1, pace=self.pace)
            return
        now = self._clock()
        count = self._done + self._new
        if now - self._told >= PLAIN_SECONDS or count == self._total:
            self._told = now
            self.tell(f"{count}/{self._total} lines, {self.pace}")

    def tell(self, text: str) -> None:
        """Print a line of foreign text, above the bar."""
        self._console.print(printable(text), highlight=False, soft_wrap=True)


def printable(text: str) -> Text:
    """Return foreign text that cannot steer the terminal."""
    return Text("".join(char if char.isprintable() or char == "\n" else "\ufffd" for char in text))
