"""Write true answers the way the model is taught to give them: the inverse of what the tasks parse.

Every function returns an answer in the official notation, control tokens spelled out; the end token is added by who
trains. Source: ``eval_audio/EVALUATION.md`` of Qwen-Audio.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qwen_audio.tags import LAST_TIME_CENTISECONDS, Tag, TimeTag

STAMP_STEP = 4  # centiseconds: one audio token, as finely as the encoder can tell
MIN_SILENCE = 2 * STAMP_STEP  # a shorter gap goes to the word behind it


def transcript(text: str) -> str:
    """Return a transcript without times; nothing where nothing is said."""
    return f" {text}" if text else ""


def word_times(words: Iterable[tuple[str, float, float]], total: float) -> str:
    """Return words with their times: (text, start, end) in seconds, inside a clip of ``total`` seconds.

    Stamps and words take turns, neighbours share the stamp between them, silence has its own tag. The first stamp,
    0.00, belongs to the prompt. Times are rounded to 40 ms.
    """
    parts: list[str] = []
    clock = 0
    for text, start, end in words:
        first = _rounded(start)
        if first - clock >= MIN_SILENCE:
            parts.append(f"{Tag.SILENCE}{TimeTag(first)}")
            clock = first
        clock = min(max(_rounded(end), clock + STAMP_STEP), LAST_TIME_CENTISECONDS)
        parts.append(f" {text}{TimeTag(clock)}")
    end_of_clip = _rounded(total)
    if end_of_clip - clock >= MIN_SILENCE or not parts:
        parts.append(f"{Tag.SILENCE}{TimeTag(end_of_clip)}")
    return "".join(parts)


def _rounded(seconds: float) -> int:
    return min(round(seconds * 100 / STAMP_STEP) * STAMP_STEP, LAST_TIME_CENTISECONDS)


def note(instrument: str, pitch: int, velocity: int, qualities: Sequence[str] = ()) -> str:
    """Return a music note: MIDI pitch and velocity from 0 to 127, the instrument, and how it sounds."""
    sounding = f"{Tag.PITCH}<|midi_pitch_{pitch}|>{Tag.VELOCITY}<|midi_velocity_{velocity}|>"
    return f"{sounding}{Tag.INSTRUMENT}{instrument}{Tag.SONIC}{', '.join(qualities)}"
