"""Count what an engine does, as one snapshot that any thread may read, and name it for operators. Free of torch."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Literal

from qwen_audio.answers import Answer, FinishReason
from qwen_audio.errors import AnswerNotFinite, EngineClosed, EngineOutOfMemory, QwenAudioError

ABANDONED = "abandoned"  # how a branch ended whose future was cancelled
OTHER = "other"  # an error that has no code of ours
ENDINGS = (*(str(reason) for reason in FinishReason), ABANDONED)
ERRORS = (AnswerNotFinite.code, EngineOutOfMemory.code, EngineClosed.code, OTHER)


@dataclass(frozen=True)
class Metrics:
    """What an engine holds now, and what it has done since it was made; times in seconds."""

    # Now.
    places: int = 0
    places_taken: int = 0  # by open prefixes
    live_chunks: int = 0  # prefixes on which a branch grows
    live_branches: int = 0
    waiting_branches: int = 0
    cache_rooms: int = 0  # that have memory
    cache_positions: int = 0  # of these rooms
    cache_positions_used: int = 0

    # Since the start.
    steps: int = 0
    busy_seconds: float = 0.0
    encode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    chunk_seconds: float = 0.0  # live chunks, summed over busy time
    branch_seconds: float = 0.0  # live branches, summed over busy time
    prefixes_opened: int = 0
    encodes: int = 0  # clips
    audio_seconds: float = 0.0  # encoded
    prefills: int = 0  # prefixes computed
    refills: int = 0  # of them such as could not be shared, or had lost their room
    evictions: int = 0  # idle prefixes that lost their room
    prefilled_positions: int = 0
    prefixes_reused: int = 0  # branches that found their prefix computed
    reused_positions: int = 0  # of these prefixes
    fed_positions: int = 0  # of prompts and answers
    read_positions: int = 0
    branches: int = 0  # started
    tokens: int = 0  # generated
    halvings: int = 0  # of a batch, because memory was short
    endings: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(ENDINGS, 0))
    errors: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(ERRORS, 0))

    @property
    def decode_seconds(self) -> float:
        """What steps took beside encoding and prefill."""
        return max(0.0, self.busy_seconds - self.encode_seconds - self.prefill_seconds)

    def flat(self) -> dict[str, float]:
        """Return every number under its name in ``SERIES``, for those who publish them."""
        return {name: float(value) for name, value in self._numbers()}

    def _numbers(self) -> Iterator[tuple[str, float]]:
        for name in _GAUGES:
            yield name, getattr(self, _ATTRIBUTES.get(name, name))
        for name in _COUNTERS:
            yield f"{name}_total", getattr(self, _ATTRIBUTES.get(name, name))
        for ending, count in self.endings.items():
            yield f"branches_ended_{ending}_total", count
        for code, count in self.errors.items():
            yield f"errors_{code}_total", count


@dataclass(frozen=True)
class Series:
    """What a published number is: a ``gauge`` of now, or a ``counter`` since the process began."""

    kind: Literal["gauge", "counter"]
    help: str


_ATTRIBUTES = {
    "slots": "places",
    "slots_used": "places_taken",
    "cache_cells": "cache_positions",
    "cache_cells_used": "cache_positions_used",
    "clips_encoded": "encodes",
    "prefixes_computed": "prefills",
    "branches_started": "branches",
}
_GAUGES = {
    "slots": "Prefixes that may be open at once.",
    "slots_used": "Open prefixes.",
    "live_chunks": "Prefixes on which a branch grows.",
    "live_branches": "Branches that grow.",
    "waiting_branches": "Branches that wait for a room, for cells or for their turn.",
    "cache_rooms": "Rooms of the cache that have memory.",
    "cache_cells": "Cells of these rooms, each for one position's keys and values.",
    "cache_cells_used": "Cells that hold something that is needed.",
}
_COUNTERS = {
    "steps": "Steps of the model.",
    "busy_seconds": "Time spent in steps.",
    "encode_seconds": "Of it, time spent encoding clips.",
    "prefill_seconds": "Of it, time spent computing prefixes.",
    "decode_seconds": "Of it, the rest: prompts, tokens and scores.",
    "chunk_seconds": "Live chunks summed over busy time: over slots and busy seconds, the share of slots in use.",
    "branch_seconds": "Live branches summed over busy time.",
    "audio_seconds": "Audio encoded.",
    "tokens": "Tokens generated.",
    "clips_encoded": "Clips encoded.",
    "prefixes_opened": "Prefixes opened.",
    "prefixes_computed": "Prefixes computed into a room.",
    "prefixes_reused": "Branches that found their prefix computed.",
    "prefilled_positions": "Positions of prefixes computed.",
    "reused_positions": "Positions of prefixes that a branch found computed.",
    "fed_positions": "Positions of prompts and answers computed.",
    "read_positions": "Positions whose keys and values steps read, each room's once a step.",
    "refills": "Prefixes computed once more, because they could not be shared or had lost their room.",
    "evictions": "Idle prefixes that lost their room to another.",
    "halvings": "Batches made smaller because memory was short.",
    "branches_started": "Branches that began to grow.",
}

SERIES: Mapping[str, Series] = {
    **{name: Series("gauge", text) for name, text in _GAUGES.items()},
    **{f"{name}_total": Series("counter", text) for name, text in _COUNTERS.items()},
    **{
        f"branches_ended_{ending}_total": Series("counter", f"Branches that ended with `{ending}`.")
        for ending in ENDINGS
    },
    **{f"errors_{code}_total": Series("counter", f"Branches that failed with `{code}`.") for code in ERRORS},
}
"""Every name that ``Metrics.flat`` returns."""


class Tally:
    """Keeps the newest snapshot; any thread may count and read."""

    def __init__(self, metrics: Metrics) -> None:
        self._lock = threading.Lock()
        self._metrics = metrics

    @property
    def metrics(self) -> Metrics:
        """The newest snapshot."""
        return self._metrics

    def add(self, **amounts: float) -> None:
        """Add to what has been done."""
        with self._lock:
            sums = {name: getattr(self._metrics, name) + amount for name, amount in amounts.items()}
            self._metrics = replace(self._metrics, **sums)

    def set(self, **values: float) -> None:
        """Say what is now."""
        with self._lock:
            self._metrics = replace(self._metrics, **values)  # type: ignore[arg-type]  # counts are whole

    def end(self, future: Future[Answer]) -> None:
        """Count how a branch ended, when its future is done."""
        error = None if future.cancelled() else future.exception()
        with self._lock:
            if error is not None:
                code = error.code if isinstance(error, QwenAudioError) and error.code in ERRORS else OTHER
                errors = {**self._metrics.errors, code: self._metrics.errors[code] + 1}
                self._metrics = replace(self._metrics, errors=errors)
            else:
                ending = ABANDONED if future.cancelled() else str(future.result().finish_reason)
                endings = {**self._metrics.endings, ending: self._metrics.endings[ending] + 1}
                self._metrics = replace(self._metrics, endings=endings)
