"""Turn speech probabilities into spans of speech; numbers in, numbers out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.timeline import SAMPLING_RATE

WINDOW_SAMPLES = 512  # 32 ms, one probability
_BLOCK_WINDOWS = 1 << 18  # of hysteresis at a time: 2.3 hours

Probabilities = NDArray[np.float32]


@dataclass(frozen=True)
class SpanOptions:
    """How probabilities become spans; the defaults are those of Silero's own ``get_speech_timestamps``."""

    threshold: float = 0.5  # speech begins here
    low_threshold: float = 0.35  # and lasts until the probability falls below this
    min_speech_samples: int = 250 * SAMPLING_RATE // 1_000  # shorter sounds are no speech
    min_silence_samples: int = 100 * SAMPLING_RATE // 1_000  # shorter pauses belong to the speech around them
    padding_samples: int = 30 * SAMPLING_RATE // 1_000  # on both sides, at most half the pause

    def __post_init__(self) -> None:
        if not 0 < self.low_threshold <= self.threshold < 1:
            raise ValueError("thresholds have to satisfy 0 < low_threshold <= threshold < 1")


def window_count(total_samples: int) -> int:
    """Return how many probabilities a timeline has; the last window may be cut short."""
    return -(-total_samples // WINDOW_SAMPLES)


def speech_spans(
    probabilities: Probabilities, total_samples: int, options: SpanOptions | None = None
) -> list[tuple[int, int]]:
    """Return the spans of speech as (start, end) samples: ascending, apart, inside the timeline."""
    options = options or SpanOptions()
    starts, ends = _runs(_is_speech(probabilities, options))
    starts, ends = starts * WINDOW_SAMPLES, np.minimum(ends * WINDOW_SAMPLES, total_samples)
    starts, ends = _bridge(starts, ends, options.min_silence_samples)
    long = ends - starts >= options.min_speech_samples
    starts, ends = _pad(starts[long], ends[long], total_samples, options.padding_samples)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _is_speech(probabilities: Probabilities, options: SpanOptions) -> NDArray[np.bool_]:
    """Follow the probabilities with hysteresis: between the thresholds, what was stays.

    In blocks: the places of a recording of 100 hours would take three times the memory of its probabilities.
    """
    flags = np.zeros(len(probabilities), dtype=np.bool_)
    spoken = False
    for start in range(0, len(probabilities), _BLOCK_WINDOWS):
        block = probabilities[start : start + _BLOCK_WINDOWS]
        begins, stops = block >= options.threshold, block < options.low_threshold
        places = np.arange(1, len(block) + 1)
        decided = np.maximum.accumulate(np.where(begins | stops, places, 0))  # place of the last one, 0: none
        flags[start : start + len(block)] = np.concatenate([[spoken], begins])[decided]
        spoken = bool(flags[start + len(block) - 1])
    return flags


def _runs(flags: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    edges = np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


def _bridge(
    starts: NDArray[np.int64], ends: NDArray[np.int64], min_silence_samples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    apart = starts[1:] - ends[:-1] >= min_silence_samples
    begins, stops = np.concatenate([[True], apart]), np.concatenate([apart, [True]])
    return starts[begins[: len(starts)]], ends[stops[: len(ends)]]


def _pad(
    starts: NDArray[np.int64], ends: NDArray[np.int64], total_samples: int, padding_samples: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    half_pauses = (starts[1:] - ends[:-1]) // 2
    before = np.minimum(padding_samples, np.concatenate([starts[:1], half_pauses]))
    after = np.minimum(padding_samples, np.concatenate([half_pauses, total_samples - ends[-1:]]))
    return starts - before, ends + after
