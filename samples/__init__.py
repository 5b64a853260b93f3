"""Carry a few small recordings, made by the project, with the truth of what is in them.

``python -m training.samples`` makes them: everything in them is of the mini model's world, and new to it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Utterance:
    """A line that is spoken, written for people; ``channel`` is None where all channels carry it."""

    speaker: str
    channel: int | None
    start_ms: int
    end_ms: int
    text: str


@dataclass(frozen=True)
class Sound:
    """Something else that is heard: rain, a bell, an alarm, breaking glass."""

    kind: str
    channel: int | None
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Word:
    """A word as the model writes it, lower case and without marks, and when it sounds."""

    word: str
    channel: int | None
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Sample:
    """A bundled recording.

    ``split`` says that each channel has its own speaker; ``language`` is None where nobody speaks. ``truth`` has,
    by task, what a perfect listener would answer in the model's own words; None where there is nothing to answer.
    ``truth_by_channel`` has the same of each channel, where ``split`` says that they are heard apart.
    ``words`` are in the order in which their lines begin.
    """

    name: str
    title: str
    path: Path
    duration_ms: int
    sampling_rate: int
    channels: int
    split: bool
    language: str | None
    utterances: tuple[Utterance, ...]
    sounds: tuple[Sound, ...]
    truth: dict[str, str | None]
    truth_by_channel: tuple[dict[str, str | None], ...]
    words: tuple[Word, ...]


def list_samples() -> tuple[Sample, ...]:
    """Return the bundled recordings, the short ones first; reads one small file and decodes nothing."""
    entries = json.loads((FOLDER / "samples.json").read_text(encoding="utf-8"))
    return tuple(sorted(map(_sample, entries), key=lambda sample: sample.duration_ms))


def _sample(entry: dict[str, Any]) -> Sample:
    file = entry.pop("file")
    return Sample(
        **{
            **entry,
            "path": FOLDER / "audio" / file,
            "utterances": tuple(Utterance(**one) for one in entry["utterances"]),
            "sounds": tuple(Sound(**one) for one in entry["sounds"]),
            "truth_by_channel": tuple(entry["truth_by_channel"]),
            "words": tuple(Word(**one) for one in entry["words"]),
        }
    )
