"""Name the form of parsed answers and the flags that they carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from qwen_audio.answers import Answer, FinishReason

DIGITS = 4  # that are kept of a probability or a share

Parsed = dict[str, Any]
"""One parsed answer: JSON values only, always with ``flags``, a list of ``Flag`` texts."""


class Flag(StrEnum):
    """What a reader should know about an answer, on its result and on the findings made of it."""

    EMPTY = "empty"  # the model had nothing to say
    UNPARSED = "unparsed"  # it said something, and nothing readable was left
    STRAY_TAGS = "stray_tags"  # control tokens stood where text belongs and were taken out
    MISSING_TIMES = "missing_times"  # word times were asked for, and only text came
    TIMESTAMPS_UNAVAILABLE = "timestamps_unavailable"  # the model knows no word times in this language
    REPAIRED_TIMES = "repaired_times"  # the pattern of times and words was broken; some times are estimates
    CUT_BY_LIMIT = "cut_by_limit"  # the token limit ended the answer, also the larger one of a second try
    CUT_BY_DEADLINE = "cut_by_deadline"
    CANCELLED = "cancelled"
    LOOP = "loop"  # the answer repeated itself and was cut
    NO_SPEECH = "no_speech"  # words came although the model itself hears no speech: they were dropped
    UNKNOWN_LANGUAGE = "unknown_language"  # none was sure enough: the likeliest was assumed, else English
    UNCHECKED = "unchecked"  # the word times of the transcript do not confirm what was said of a place
    UNKNOWN_LABEL = "unknown_label"  # the answer is none of the labels of the task


FLAG_OF_ENDING: dict[FinishReason, Flag] = {
    FinishReason.LENGTH: Flag.CUT_BY_LIMIT,
    FinishReason.LOOP: Flag.LOOP,
    FinishReason.DEADLINE: Flag.CUT_BY_DEADLINE,
    FinishReason.CANCELLED: Flag.CANCELLED,
}


def ending_flags(answer: Answer) -> list[Flag]:
    """Return the flag of an answer that did not end by itself, or nothing."""
    flag = FLAG_OF_ENDING.get(answer.finish_reason)
    return [] if flag is None else [flag]


def confidence(answer: Answer) -> float | None:
    """Return the answer's ``avg_logprob`` where JSON can hold it, else None."""
    return mean_logprob(answer.logprobs)


def mean_logprob(logprobs: Sequence[float]) -> float | None:
    """Return the mean of tokens' log-probabilities where JSON can hold it; None also where there is none."""
    mean = sum(logprobs) / len(logprobs) if logprobs else math.nan
    return mean if math.isfinite(mean) else None
