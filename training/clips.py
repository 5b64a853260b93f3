"""Describe a clip: what the model hears, and everything that is true about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.takes import TimedWord

FRAME_SECONDS = 0.01
FRAMES_PER_TOKEN = 4  # 40 ms


@dataclass(frozen=True)
class Spoken:
    """Somebody's utterance, from one 10 ms frame of the clip to another."""

    start: int
    end: int
    language: str
    speaker: str  # man or woman
    emotion: str


@dataclass
class Clip:
    """One clip of training or evaluation.

    ``mel`` is the model's input, float32 (frames, 80), None where ``samples`` (n,) at 16 kHz are kept instead.
    ``spoken`` are the utterances, ``sounds`` the places of events, voice noises and notes by name. ``phonemes`` has an
    id per 10 ms frame, empty where it is not known.
    ``language`` is None where nobody speaks, ``emotion`` where the voices differ.
    """

    mel: NDArray[np.float32] | None = field(default=None, repr=False)
    samples: NDArray[np.float32] | None = field(default=None, repr=False)
    frames: int = 0
    words: tuple[TimedWord, ...] = ()
    sounds: tuple[TimedWord, ...] = ()
    spoken: tuple[Spoken, ...] = ()
    phonemes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    language: str | None = None
    speakers: tuple[str, ...] = ()
    emotion: str | None = None
    ground: str | None = None
    events: tuple[str, ...] = ()
    vocal: str | None = None
    note: dict[str, Any] | None = None
    is_noisy: bool = False

    @property
    def text(self) -> str:
        """What is said in English."""
        return " ".join(word.text for word in self.words)

    @property
    def timed_words(self) -> list[tuple[str, float, float]]:
        """The words with their seconds."""
        return [(word.text, word.start * FRAME_SECONDS, word.end * FRAME_SECONDS) for word in self.words]
