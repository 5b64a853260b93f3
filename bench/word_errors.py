"""Lay heard words beside the true ones and say where each error lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.tasks.findings import Word
from pipeline.timeline import SAMPLING_RATE

SEAM_SAMPLES = (
    3 * SAMPLING_RATE // 2
)  # how far from a cut a word is the seam's: the overlap and half a second


@dataclass(frozen=True)
class Alignment:
    """``errors`` are places in the true words, one for each word lost, doubled or wrong; ``pairs`` (true, heard)
    places of the same word.
    """

    errors: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]


def align(true: Sequence[str], heard: Sequence[str]) -> Alignment:
    """Align with the fewest edits; an invented word counts at the true word that follows, or at the last."""
    numbers = {word: number for number, word in enumerate(dict.fromkeys([*true, *heard]))}
    said = np.array([numbers[word] for word in heard], int)
    steps = np.arange(len(heard) + 1)
    table = np.empty((len(true) + 1, len(heard) + 1), int)
    table[0] = steps
    for row, word in enumerate(true, 1):
        above = table[row - 1]
        best = above + 1
        best[1:] = np.minimum(best[1:], above[:-1] + (said != numbers[word]))
        table[row] = np.minimum.accumulate(best - steps) + steps  # inventing words goes to the right
    return _walk_back(table, true, heard)


def _walk_back(
    table: np.ndarray[tuple[int, ...], np.dtype[np.int64]], true: Sequence[str], heard: Sequence[str]
) -> Alignment:
    errors: list[int] = []
    pairs: list[tuple[int, int]] = []
    row, column = len(true), len(heard)
    while row or column:
        here = table[row, column]
        same = bool(row and column) and true[row - 1] == heard[column - 1]
        if row and column and here == table[row - 1, column - 1] + (not same):
            row, column = row - 1, column - 1
            if same:
                pairs.append((row, column))
            else:
                errors.append(row)
        elif row and here == table[row - 1, column] + 1:
            row -= 1
            errors.append(row)
        else:
            column -= 1
            errors.append(min(row, len(true) - 1))
    return Alignment(tuple(errors[::-1]), tuple(pairs[::-1]))


def near_cuts(words: Sequence[Word], cuts: Sequence[int]) -> set[int]:
    """Return the places of the words whose middle is near one of the cuts."""
    middles = [(word.start_sample + word.end_sample) // 2 for word in words]
    return {
        place
        for place, middle in enumerate(middles)
        if any(abs(middle - cut) <= SEAM_SAMPLES for cut in cuts)
    }
