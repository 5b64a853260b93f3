"""Guard transcripts against what speech models invent: loops, and words where nobody speaks."""

from __future__ import annotations

import re
import zlib

from pipeline.tasks.parsed import confidence
from pipeline.tasks.text import UNSPACED
from qwen_audio.answers import Answer, FinishReason

MAX_COMPRESSION_RATIO = 2.4  # above, text repeats itself (openai/whisper's threshold)
MIN_TEXT_BYTES = 48  # short texts compress too differently to tell
RUN = 4  # words
MIN_DISTINCT_RUNS = 0.6  # below this share, what compresses well is a loop
NO_SPEECH_PROB = 0.6  # above, together with ...
NO_SPEECH_LOGPROB = -1.0  # ... answers less sure than this, nobody speaks (openai/whisper's thresholds)

_WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")


def compression_ratio(text: str) -> float | None:
    """Return how much smaller zlib makes the text, as openai/whisper defines it; None for no text."""
    raw = text.encode()
    return round(len(raw) / len(zlib.compress(raw)), 3) if raw else None


def is_loop(answer: Answer, text: str) -> bool:
    """Say whether an answer goes round in circles: the engine saw it, or the text both compresses too well and says
    the same runs of words again. A report in few words compresses as well as a loop, but its runs differ.
    """
    ratio = compression_ratio(text)
    long_enough = len(text.encode()) >= MIN_TEXT_BYTES
    return answer.finish_reason is FinishReason.LOOP or (
        ratio is not None
        and long_enough
        and ratio > MAX_COMPRESSION_RATIO
        and distinct_runs(text) < MIN_DISTINCT_RUNS
    )


def distinct_runs(text: str) -> float:
    """Return how many of the text's runs of ``RUN`` words differ, as a share of all; 1 where there are none.

    Chinese and Japanese, which have no spaces, are counted by characters.
    """
    words = _WORD.findall(text.casefold())
    runs = [tuple(words[place : place + RUN]) for place in range(len(words) - RUN + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def is_invented(answer: Answer, no_speech_prob: float | None) -> bool:
    """Say whether words came although the model itself hears no speech."""
    sure = confidence(answer)
    return (
        no_speech_prob is not None
        and no_speech_prob > NO_SPEECH_PROB
        and sure is not None
        and sure < NO_SPEECH_LOGPROB
    )
