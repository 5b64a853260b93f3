"""Measure word times (SRWT): the average shift of stamps, AAS, over the tokens that agree.

Source: ``eval_audio/evaluate_srwt.py`` of Qwen-Audio, its peculiarities included. It reads an answer from its first
stamp on, although the prompt holds the stamp before it: what is said up to there has no time and is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pipeline.official.text import Pair

Token = tuple[str, float, float]
"""What stands between two stamps, silence too, with these in seconds."""

_STAMP = re.compile(r"<\|(\d{1,2}\.\d+)\|>")


@dataclass(frozen=True)
class Shift:
    """``seconds`` is AAS, None where no token agrees; ``skipped`` counts pairs with a side that has no stamp."""

    seconds: float | None
    tokens: int
    skipped: int


def read_times(text: str) -> list[Token] | None:
    """Return the tokens of an answer; None where the pattern of stamps and words does not hold."""
    for tag in ("<|startoftranscript|>", "<|transcribe|>"):
        text = text.replace(tag, "")
    text = text.replace("<|en|>" if "<|en|>" in text else "<|zh|>", "")
    pieces = _STAMP.split(text)  # text, stamp, text, stamp, ..., text
    stamps, words = [float(stamp) for stamp in pieces[1::2]], pieces[2:-1:2]
    if len(stamps) != len(words) + 1:
        return None
    return list(zip(words, stamps, stamps[1:], strict=False))


def average_shift(pairs: Iterable[Pair]) -> Shift:
    """Compute AAS: how far starts and ends of tokens that agree lie apart, summed, per token."""
    apart = 0.0
    tokens = skipped = 0
    for prediction, truth in pairs:
        said, meant = read_times(prediction), read_times(truth)
        if said is None or meant is None:
            skipped += 1
            continue
        for place, other in _matches([token[0] for token in meant], [token[0] for token in said]):
            (_, start, end), (_, other_start, other_end) = meant[place], said[other]
            apart += abs(start - other_start) + abs(end - other_end)
            tokens += 1
    return Shift(apart / tokens if tokens else None, tokens, skipped)


def _matches(first: Sequence[str], second: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of equal items in an alignment with the fewest edits.

    There can be several. This one is that of the package ``edit_distance``, which the official code calls:
    where costs are equal a substitution comes before an insertion, and that before a deletion. Another choice
    moves the figure, so a library with a choice of its own will not do.
    """
    costs = [list(range(len(second) + 1))]
    for row, item in enumerate(first, start=1):
        above, costs_here = costs[-1], [row]
        for column, other in enumerate(second):
            costs_here.append(
                min(above[column] + (item != other), costs_here[column] + 1, above[column + 1] + 1)
            )
        costs.append(costs_here)
    found = []
    row, column = len(first), len(second)
    while row and column:
        is_equal = first[row - 1] == second[column - 1]
        cost = costs[row][column]
        if cost == costs[row - 1][column - 1] + (not is_equal):
            row, column = row - 1, column - 1
            if is_equal:
                found.append((row, column))
        elif cost == costs[row][column - 1] + 1:
            column -= 1
        else:
            row -= 1
    return found[::-1]
