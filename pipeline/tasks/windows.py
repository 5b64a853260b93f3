"""Cut a chunk into windows that hold an utterance each, by the speech map."""

from __future__ import annotations

from itertools import pairwise

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Span
from pipeline.tasks.questions import MIN_HEARD_SAMPLES, HeardChunk

PAUSE_SAMPLES = SAMPLES_PER_SECOND * 6 // 10  # a silence this long ends an utterance
MAX_WINDOW_SAMPLES = 15 * SAMPLES_PER_SECOND
PADDING_SAMPLES = SAMPLES_PER_SECOND // 10  # into the pauses around, at most half of each


def speech_windows(chunk: HeardChunk) -> list[Span]:
    """Return where utterances lie, (start, end) from the heard start: ascending, apart, none too short to be heard.

    Where nobody looked for speech the whole chunk is one window; where there is none, there is none.
    """
    if chunk.speech is None:
        return [(0, chunk.samples)] if chunk.samples >= MIN_HEARD_SAMPLES else []
    runs: list[list[int]] = []
    for start, end in chunk.speech:
        if runs and start - runs[-1][1] < PAUSE_SAMPLES and end - runs[-1][0] <= MAX_WINDOW_SAMPLES:
            runs[-1][1] = end
        else:
            runs.append([start, end])
    windows: list[Span] = []
    for place, (start, end) in enumerate(runs):
        before = runs[place - 1][1] if place else 0
        after = runs[place + 1][0] if place + 1 < len(runs) else chunk.samples
        left = max(start - PADDING_SAMPLES, (before + start) // 2 if place else 0)
        right = min(end + PADDING_SAMPLES, (end + after) // 2 if place + 1 < len(runs) else chunk.samples)
        if right - left >= MIN_HEARD_SAMPLES:
            windows.append((left, right))
    return windows


def halves(chunk: HeardChunk) -> tuple[Span, Span]:
    """Cut a chunk in two in the pause nearest its middle, or in the middle where nobody pauses."""
    middle = chunk.samples // 2
    spans = chunk.speech or ()
    pauses = [
        (left[1] + right[0]) // 2
        for left, right in pairwise(spans)
        if chunk.samples // 4 <= (left[1] + right[0]) // 2 <= chunk.samples * 3 // 4
    ]
    cut = min(pauses, key=lambda pause: abs(pause - middle), default=middle)
    return (0, cut), (cut, chunk.samples)
