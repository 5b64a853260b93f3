"""Count what an engine does, as one snapshot that any thread may read. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Metrics:
    """What an engine holds now, and what it has done since it was made; times in seconds."""

    # Now.
    places: int = 0
    places_taken: int = 0  # by open prefixes
    live_chunks: int = 0  # prefixes on which a branch grows
    live_branches: int = 0
    waiting_branches: int = 0
    cache_positions: int = 0  # that there are, without long rooms
    cache_positions_used: int = 0

    # Since the start.
    steps: int = 0
    busy_seconds: float = 0.0
    encode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    chunk_seconds: float = 0.0  # live chunks, summed over busy time
    branch_seconds: float = 0.0  # live branches, summed over busy time
    encodes: int = 0  # clips
    audio_seconds: float = 0.0  # encoded
    prefills: int = 0  # prefixes computed
    refills: int = 0  # of them such as could not be shared, or had lost their room
    prefilled_positions: int = 0
    reused_positions: int = 0  # of prefixes, that a branch found computed
    fed_positions: int = 0  # of prompts and answers
    branches: int = 0  # started
    tokens: int = 0  # generated
    halvings: int = 0  # of a batch, because memory was short


class Tally:
    """Keeps the newest snapshot; one thread counts, any may read."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def add(self, **amounts: float) -> None:
        """Add to what has been done."""
        self.set(**{name: getattr(self.metrics, name) + amount for name, amount in amounts.items()})

    def set(self, **values: float) -> None:
        """Say what is now."""
        self.metrics = replace(self.metrics, **values)  # type: ignore[arg-type]  # counts are whole
