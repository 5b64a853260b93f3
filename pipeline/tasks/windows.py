"""Cut a chunk into windows that hold an utterance each, by the speech map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Span
from pipeline.tasks.questions import MIN_HEARD_SAMPLES, HeardChunk

PAUSE_SAMPLES = SAMPLES_PER_SECOND * 6 // 10  # a silence this long ends an utterance
MAX_WINDOW_SAMPLES = 15 * SAMPLES_PER_SECOND  # of joined speech; speech without a pause can be longer
PADDING_SAMPLES = SAMPLES_PER_SECOND // 10  # into the pauses around, at most half of each


def speech_windows(chunk: HeardChunk, most_samples: int = MAX_WINDOW_SAMPLES) -> list[Span]:
    """Return where utterances lie, (start, end) from the heard start: ascending, apart, none too short to be heard.

    They stay inside what the chunk owns: an utterance that runs through a seam is cut there, because what two chunks
    hear as text could not be told apart. Utterances are joined over short pauses up to ``most_samples``. Where nobody
    looked for speech, all of it is one window; where there is none, there is none.
    """
    first, last = chunk.own
    runs = [(first, last)] if chunk.speech is None else _runs(chunk.speech, chunk.own, most_samples)
    windows: list[Span] = []
    for place, (start, end) in enumerate(runs):
        # A pause goes half to the utterance before it and half to the one behind.
        left = max(start - PADDING_SAMPLES, (runs[place - 1][1] + start) // 2 if place else first)
        right = min(end + PADDING_SAMPLES, (end + runs[place + 1][0]) // 2 if place + 1 < len(runs) else last)
        if right - left >= MIN_HEARD_SAMPLES:
            windows.append((left, right))
    return windows


def halves(chunk: HeardChunk, window: Span) -> tuple[Span, ...]:
    """Cut a window in two in the pause nearest its middle, or in the middle where nobody pauses.

    Neither half is shorter than a quarter; nothing where a quarter is too short to be heard.
    """
    start, end = window
    quarter = (end - start) // 4
    if quarter < MIN_HEARD_SAMPLES:
        return ()
    middle = (start + end) // 2
    pauses = [(left[1] + right[0]) // 2 for left, right in pairwise(chunk.speech or ())]
    inside = [pause for pause in pauses if start + quarter <= pause <= end - quarter]
    cut = min(inside, key=lambda pause: abs(pause - middle), default=middle)
    return (start, cut), (cut, end)


def _runs(speech: Sequence[Span], owned: Span, most_samples: int) -> list[Span]:
    """Return the owned speech, joined over short pauses as long as it stays short."""
    runs: list[Span] = []
    for start, end in speech:
        start, end = max(start, owned[0]), min(end, owned[1])
        if start >= end:
            continue
        if runs and start - runs[-1][1] < PAUSE_SAMPLES and end - runs[-1][0] <= most_samples:
            start = runs.pop()[0]
        runs.append((start, end))
    return runs
