"""Cut a channel's timeline into chunks of at most 30 s, where speech is least likely.

The owned spans tile the timeline to the sample. The heard span of a chunk is what the model gets; it equals the owned
one where both cuts lie in pauses. Where speech runs through a cut, both neighbours hear a second more than they own, so
that every word is wholly heard by the chunk that owns its middle; ``pipeline.tasks.seams`` settles who says it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.speech_spans import WINDOW_SAMPLES, Probabilities, SpanOptions, speech_spans, window_count
from pipeline.timeline import MAX_HEARD_SAMPLES, SAMPLING_RATE

MIN_CUT_SAMPLES = 15 * SAMPLING_RATE  # no cut comes earlier: short chunks lose context and fill batches badly
MIN_TAIL_SAMPLES = 5 * SAMPLING_RATE  # the last chunk has at least this, unless the recording has not
PAUSE_WINDOWS = 8  # 256 ms: half of it before a cut, half behind, has to be quiet
OVERLAP_SAMPLES = SAMPLING_RATE  # heard on both sides of a cut without such a pause: half of the longest word
SHORTNESS_COST = 0.05  # of speech probability: how much likelier speech may be to save half a chunk


@dataclass(frozen=True)
class ChunkSpan:
    """One chunk of one channel; places are samples of the timeline, half open."""

    index: int
    owned_start: int
    owned_end: int
    heard_start: int
    heard_end: int
    speech: tuple[tuple[int, int], ...]  # spans inside the owned one, ascending and apart

    def __post_init__(self) -> None:
        if not self.heard_start <= self.owned_start < self.owned_end <= self.heard_end:
            raise ValueError(f"{self}: the heard span has to contain the owned one, which is not empty")
        if self.heard_end - self.heard_start > MAX_HEARD_SAMPLES:
            raise ValueError(f"{self}: at most {MAX_HEARD_SAMPLES} samples can be heard at once")

    @property
    def speech_samples(self) -> int:
        """How many samples of the owned span are speech."""
        return sum(end - start for start, end in self.speech)


def plan_chunks(total_samples: int, probabilities: Probabilities) -> list[ChunkSpan]:
    """Return the chunks of one channel, ascending; one walk over the probabilities, ``O(total_samples)``.

    ``probabilities`` has one value per window of 512 samples, the last window may be cut short; raises ``ValueError``
    when their number does not fit.
    """
    if len(probabilities) != window_count(total_samples):
        raise ValueError(
            f"{total_samples} samples have {window_count(total_samples)} windows, not {len(probabilities)}"
        )
    spans = speech_spans(probabilities, total_samples)
    chunks = []
    for index, (left, right) in enumerate(pairwise([_Cut(0), *_cuts(total_samples, probabilities)])):
        heard = left.sample - left.overlap, right.sample + right.overlap
        speech = _inside(spans, left.sample, right.sample)
        chunks.append(ChunkSpan(index, left.sample, right.sample, *heard, speech))
    return chunks


@dataclass(frozen=True)
class _Cut:
    """Where one chunk ends and the next begins, and how much of either side both hear, in samples."""

    sample: int
    overlap: int = 0


def _cuts(total_samples: int, probabilities: Probabilities) -> Iterator[_Cut]:
    """Yield where each chunk ends; the last is the end of the timeline."""
    speech = probabilities >= SpanOptions().low_threshold
    cut = _Cut(0)
    while total_samples - (cut.sample - cut.overlap) > MAX_HEARD_SAMPLES:
        cut = _best_cut(cut, total_samples, probabilities, speech)
        yield cut
    if total_samples > 0:
        yield _Cut(total_samples)


def _best_cut(
    left: _Cut, total_samples: int, probabilities: Probabilities, speech: NDArray[np.bool_]
) -> _Cut:
    """Return the quietest window edge that leaves a chunk of 15 s to what can be heard, and a tail of at least 5 s.

    Among equally quiet ones the latest. What is left to hear is longer than 30 s, so there is always one to choose
    from, also when speech runs through them all and each needs its overlap.
    """
    reach = left.sample - left.overlap + MAX_HEARD_SAMPLES
    first = -(-(left.sample + MIN_CUT_SAMPLES) // WINDOW_SAMPLES)
    last = min(reach, total_samples - MIN_TAIL_SAMPLES) // WINDOW_SAMPLES
    edges = np.arange(first, last + 1)
    overlaps = np.where(_mean_around(edges, speech) > 0, OVERLAP_SAMPLES, 0)
    shortness = (last - edges) * WINDOW_SAMPLES / (MAX_HEARD_SAMPLES - MIN_CUT_SAMPLES)
    costs = _mean_around(edges, probabilities) + SHORTNESS_COST * shortness
    costs[edges * WINDOW_SAMPLES + overlaps > reach] = np.inf
    best = len(edges) - 1 - int(np.argmin(costs[::-1]))
    return _Cut(int(edges[best]) * WINDOW_SAMPLES, int(overlaps[best]))


def _mean_around(
    edges: NDArray[np.int64], values: NDArray[np.float32] | NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return the mean of the windows around each edge, so that a cut falls inside a pause, not on its border."""
    reach = PAUSE_WINDOWS // 2
    low, high = max(int(edges[0]) - reach, 0), min(int(edges[-1]) + reach, len(values))
    sums = np.concatenate([[0.0], np.cumsum(values[low:high], dtype=np.float64)])
    left, right = np.maximum(edges - reach, low) - low, np.minimum(edges + reach, high) - low
    return np.asarray((sums[right] - sums[left]) / (right - left))


def _inside(spans: Sequence[tuple[int, int]], start: int, end: int) -> tuple[tuple[int, int], ...]:
    """Return the parts of ``spans`` (ascending and apart) that lie between ``start`` and ``end``."""
    found = []
    for place in range(bisect_left(spans, start, key=lambda span: span[1]), len(spans)):
        if spans[place][0] >= end:
            break
        inner = max(spans[place][0], start), min(spans[place][1], end)
        if inner[0] < inner[1]:
            found.append(inner)
    return tuple(found)
