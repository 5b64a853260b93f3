"""Count what a process works on, and shut the gate for a suspect that has to have the process to itself."""

from __future__ import annotations

import threading


class Gate:
    """Whoever claims comes in first, and whoever shuts the gate waits until all have left.

    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0  # claims in progress, and passes
        self._shut = False

    @property
    def is_shut(self) -> bool:
        """Whether nobody comes in."""
        return self._shut

    def enter(self) -> bool:
        """Come in to claim; False while the gate is shut."""
        with self._changed:
            if not self._shut:
                self._inside += 1
            return not self._shut

    def become(self, count: int) -> None:
        """Let a claim that came in be as many passes as it got."""
        with self._changed:
            self._inside += count - 1
            self._changed.notify_all()

    def leave(self) -> None:
        """Say that a pass has ended."""
        self.become(0)

    def shut(self) -> bool:
        """Let nobody in any more; False when somebody else has shut it."""
        with self._changed:
            was_open, self._shut = not self._shut, True
            return was_open

    def let_in(self) -> None:
        """Come in past a shut gate: for whoever has shut it."""
        with self._changed:
            self._inside += 1

    def open(self) -> None:
        """Let all in again."""
        self._shut = False

    def is_empty_within(self, seconds: float) -> bool:
        """Wait until nobody is inside, and say whether it came to that."""
        with self._changed:
            return self._changed.wait_for(lambda: self._inside == 0, timeout=seconds)
