"""Read speech with word times (SRWT), and mend the pattern where the model broke it.

The published form is stamps and words in turn, where neighbours share the stamp between them::

    <|0.00|><|sil|><|0.54|>面<|0.86|>条<|1.17|>机<|1.46|><|sil|><|2.01|>

The leading ``<|0.00|>`` belongs to the prompt, so an answer starts behind it. Positions here are samples at 16 kHz
from the start of what was heard. Source: ``eval_audio/EVALUATION.md`` of Qwen-Audio.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Word
from pipeline.tasks.parsed import DIGITS, Flag
from pipeline.tasks.text import has_control_token, has_letters, readable
from qwen_audio.tags import Tag, TimeTag

SAMPLES_PER_CENTISECOND = SAMPLES_PER_SECOND // 100
FRAME_SAMPLES = 640  # 40 ms, one audio token: how finely the model can hear where the clip ends
OPEN_WORD_SAMPLES = 4_800  # 0.3 s, the usual length of a word, for one whose end stamp never came

CLIP_START = str(TimeTag(0))
STAMP = re.compile(r"<\|((?:30\.00|[12]?\d\.\d\d))\|>")


def parse_word_times(
    text: str, heard_samples: int, starts: Sequence[int] = (), logprobs: Sequence[float] = ()
) -> tuple[list[Word], list[Flag]]:
    """Return the words of an answer in order, and the flags that say what was mended.

    ``starts`` and ``logprobs`` are those of an ``Answer``; without them words have no confidence. Words lie inside
    ``0..heard_samples`` and never run backwards. Without a single stamp there are no words, even when there is text:
    the caller then has text without times.
    """
    lead = "" if text.lstrip().startswith(CLIP_START) else CLIP_START
    stamps, slots, places = _take_apart(lead + text)  # slot i follows stamp i; the last one has no end
    if len(stamps) == 1:
        return [], [Flag.STRAY_TAGS] if _has_stray_tags(text) else []
    flags = [Flag.STRAY_TAGS] if any(map(_has_stray_tags, slots)) else []
    times, broken = _settle_times([round(float(stamp) * 100) for stamp in stamps], heard_samples)
    words: list[Word] = []
    for slot, place, start, end in zip(slots, places, times, [*times[1:], None], strict=True):
        said, regular = _words_of_slot(slot, start, end, heard_samples)
        broken |= not regular
        begin = place - len(lead)
        sure = _confidence(begin, begin + len(slot), starts, logprobs)
        words.extend(replace(word, confidence=sure) for word in said)
    return _attach_punctuation(words), flags + ([Flag.REPAIRED_TIMES] if broken else [])


def _take_apart(text: str) -> tuple[list[str], list[str], list[int]]:
    """Return the stamps, what follows each of them, and at which character that begins."""
    found = list(STAMP.finditer(text))
    places = [match.end() for match in found]
    ends = [*(match.start() for match in found[1:]), len(text)]
    return (
        [match[1] for match in found],
        [text[begin:end] for begin, end in zip(places, ends, strict=True)],
        places,
    )


def _confidence(begin: int, end: int, starts: Sequence[int], logprobs: Sequence[float]) -> float | None:
    """Return the mean probability of the tokens that begin between two characters."""
    inside = logprobs[bisect_left(starts, begin) : bisect_left(starts, end)]
    if not inside or not all(map(math.isfinite, inside)):
        return None
    return round(math.exp(min(sum(inside) / len(inside), 0.0)), DIGITS)


def _has_stray_tags(slot: str) -> bool:
    return has_control_token(slot.replace(str(Tag.SILENCE), ""))


def _words_of_slot(slot: str, start: int, end: int | None, heard_samples: int) -> tuple[list[Word], bool]:
    """Return the words between two stamps, and whether the slot was as published: one word, or silence."""
    said = readable(slot).split()
    silent = str(Tag.SILENCE) in slot
    if end is None:
        end = min(heard_samples, start + OPEN_WORD_SAMPLES * len(said))
        return _share(said, start, end), not said
    return _share(said, start, end), len(said) + silent == 1


def _share(said: Sequence[str], start: int, end: int) -> list[Word]:
    """Spread words over a span by their lengths in characters."""
    edges = list(accumulate((len(word) for word in said), initial=0))
    cuts = [start + (end - start) * edge // max(edges[-1], 1) for edge in edges]
    return [Word(word, cuts[i], cuts[i + 1]) for i, word in enumerate(said)]


def _settle_times(centiseconds: Sequence[int], heard_samples: int) -> tuple[list[int], bool]:
    """Return the stamps as samples that never run backwards nor past the end, and whether any had to move.

    The longest run of stamps that rises is believed; one that breaks it is placed evenly between its neighbours,
    so a single wild stamp does not drag the words behind it along.
    """
    claimed = [value * SAMPLES_PER_CENTISECOND for value in centiseconds]
    moved = max(claimed) > heard_samples + FRAME_SAMPLES
    samples = [min(value, heard_samples) for value in claimed]
    anchors = _longest_rise(samples)
    times: list[int] = []
    for left, right in zip(anchors, [*anchors[1:], len(samples)], strict=True):
        low, high = samples[left], samples[right] if right < len(samples) else heard_samples
        times += [low + (high - low) * step // (right - left) for step in range(right - left)]
    return times, moved or len(anchors) < len(samples)


def _longest_rise(values: Sequence[int]) -> list[int]:
    """Return the indices of a longest non-decreasing subsequence (patience sorting)."""
    tails: list[int] = []  # the smallest end of a rise of each length
    ends: list[int] = []  # and its index
    before: list[int | None] = []
    for index, value in enumerate(values):
        length = bisect_right(tails, value)
        before.append(ends[length - 1] if length else None)
        tails[length : length + 1] = [value]
        ends[length : length + 1] = [index]
    rise: list[int] = []
    index_or_none = ends[-1] if ends else None
    while index_or_none is not None:
        rise.append(index_or_none)
        index_or_none = before[index_or_none]
    return rise[::-1]


def _attach_punctuation(words: Sequence[Word]) -> list[Word]:
    """Give a mark that got a slot of its own to the word before it."""
    attached: list[Word] = []
    for word in words:
        if attached and not has_letters(word.text):
            last = attached.pop()
            word = replace(last, text=last.text + word.text)
        attached.append(word)
    return attached
