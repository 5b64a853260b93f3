"""Hear speech without a pause in pieces that a model of short clips can follow, and settle who says what.

The pieces overlap; a word belongs to the piece that owns its middle, as between chunks (``pipeline.tasks.seams``).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Part, Span, Word
from pipeline.tasks.seams import settle

OVERLAP_SAMPLES = SAMPLES_PER_SECOND
TOLERATED = 1.5  # times the longest clip


def pieces(windows: Sequence[Span], most_samples: int) -> list[Span]:
    """Cut every window that is much longer than ``most_samples`` into equal pieces that overlap by a second.

    One that is a little longer is mostly one long utterance, which is followed better whole.
    """
    found: list[Span] = []
    for start, end in windows:
        if end - start <= TOLERATED * most_samples:
            found.append((start, end))
            continue
        step = max(1, most_samples - OVERLAP_SAMPLES)
        count = max(1, -(-(end - start - OVERLAP_SAMPLES) // step))
        length = (end - start + (count - 1) * OVERLAP_SAMPLES) / count
        starts = [start + round(place * (length - OVERLAP_SAMPLES)) for place in range(count)]
        found += [(first, min(end, first + round(length))) for first in starts[:-1]]
        found.append((starts[-1], end))
    return found


def settle_windows(windows: Sequence[Span], words: Sequence[Sequence[Word]]) -> list[tuple[Word, ...]]:
    """Return for each window, in the order of time, the words that it says where neighbours overlap."""
    parts = []
    for place, (start, end) in enumerate(windows):
        before = windows[place - 1][1] if place else start
        after = windows[place + 1][0] if place + 1 < len(windows) else end
        first = (start + before) // 2 if before > start else start
        last = (after + end) // 2 if after < end else end
        parts.append(Part(0, place, first, max(last, first + 1), start, end))
    return [tuple(own) for own in settle(parts, words)]
