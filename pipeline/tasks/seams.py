"""Settle which chunk says a word, where two chunks heard the same audio.

A word belongs to the chunk whose owned span holds its middle. Two chunks that both heard a word place it a little
differently; judged apart, one seam could lose it and the next could keep it twice. So words that both heard are
paired first and judged by one middle, the mean of the two; a word that one of the two misheard, by its place alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from pipeline.tasks.findings import Part, Word

SAME_WORD_SAMPLES = 4_000  # 0.25 s: the furthest that two hearings of one word lie apart
MISHEARD_SAMPLES = 2_400  # 0.15 s: the same where they differ, because one of the two misheard it


@dataclass
class _Heard:
    """A word of one chunk with the middles that its two seams judge it by."""

    word: Word
    left_middle: int
    right_middle: int


def settle(parts: Sequence[Part], words: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """Return for each part of one channel, in timeline order, the words that it says.

    ``words`` has the words of each part in timeline samples. What comes back never runs backwards, also from one
    part to the next.
    """
    heard = [[_judge(word, part) for word in said] for part, said in zip(parts, words, strict=True)]
    for i, (left, right) in enumerate(pairwise(parts)):
        _pair(
            [entry for entry in heard[i] if entry.right_middle >= right.heard_start],
            [entry for entry in heard[i + 1] if entry.left_middle < left.heard_end],
        )
    kept = [
        [
            entry.word
            for entry in entries
            if entry.left_middle >= part.owned_start and entry.right_middle < part.owned_end
        ]
        for part, entries in zip(parts, heard, strict=True)
    ]
    return _forwards(parts, kept)


def _judge(word: Word, part: Part) -> _Heard:
    # An empty word at the very end of the clip has its middle outside every span: it belongs to the last sample.
    middle = max(part.heard_start, min((word.start_sample + word.end_sample) // 2, part.heard_end - 1))
    return _Heard(word, middle, middle)


def _pair(left: Sequence[_Heard], right: Sequence[_Heard]) -> None:
    """Give each word that both sides heard one middle for the seam between them.

    Pairs are in order, and together as close as can be: the closest first would pair the first "seven" of one side
    with the second of the other, where both say it twice, and leave the others alone.
    """
    # best[i][j]: how close pairs of left[i:] and right[j:] can be in all
    best = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            together = best[i + 1][j + 1] + _closeness(left[i], right[j])
            best[i][j] = max(best[i + 1][j], best[i][j + 1], together)
    i = j = 0
    while i < len(left) and j < len(right):
        if best[i][j] == best[i + 1][j]:
            i += 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            left[i].right_middle = right[j].left_middle = (left[i].right_middle + right[j].left_middle) // 2
            i, j = i + 1, j + 1


def _closeness(left: _Heard, right: _Heard) -> int:
    """Return by how much two hearings of one word are closer than they need to be; 0 where they are of two words."""
    is_same = left.word.text.casefold() == right.word.text.casefold()
    furthest = SAME_WORD_SAMPLES if is_same else MISHEARD_SAMPLES
    return max(0, furthest + 1 - abs(left.right_middle - right.left_middle))


def _forwards(parts: Sequence[Part], kept: Sequence[Sequence[Word]]) -> list[list[Word]]:
    """Make words meet, at the seam where they come from two parts, instead of overlapping."""
    settled: list[list[Word]] = [[] for _ in parts]
    last: tuple[int, int] | None = None  # part and position of the word before
    for i, words in enumerate(kept):
        for word in words:
            floor = 0
            if last is not None:
                before = settled[last[0]][last[1]]
                if word.start_sample < before.end_sample and last[0] != i:
                    end = max(before.start_sample, min(before.end_sample, parts[i].owned_start))
                    before = settled[last[0]][last[1]] = replace(before, end_sample=end)
                floor = before.end_sample
            start = max(word.start_sample, floor)
            settled[i].append(replace(word, start_sample=start, end_sample=max(word.end_sample, start)))
            last = i, len(settled[i]) - 1
    return settled
