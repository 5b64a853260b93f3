"""Say what the API needs of a doorbell: a way to wake workers once work is committed."""

from __future__ import annotations

from typing import Protocol

from db.states import PassKind


class Doorbell(Protocol):
    """Wake workers of one kind; never raises and never waits. A lost ring costs latency, never work."""

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        """Say that ``count`` passes of this kind became ready; called after the commit."""


class SilentDoorbell:
    """Ring nobody: the embedded workers poll."""

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        """Do nothing."""
