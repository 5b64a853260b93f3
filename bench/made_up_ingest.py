"""Let ``pipeline.ingest`` take made-up samples and probabilities in place of a decoder and a speech model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import pipeline.ingest
from pipeline.decode import BLOCK_SAMPLES
from pipeline.decode_report import Media
from pipeline.speech_spans import WINDOW_SAMPLES, Probabilities
from pipeline.timeline import SAMPLING_RATE


@dataclass
class _MadeUpDecoding:
    """Hand out silence as a decoder would hand out a recording."""

    samples_left: int
    samples: int = 0
    channel_count: int = 1
    media: Media = field(default_factory=lambda: Media("wav", "pcm_s16le", SAMPLING_RATE, 1, None, 1, 0))
    warnings: tuple[()] = ()
    truncated: bool = False

    @property
    def confined(self) -> dict[str, bool]:
        """Which walls there are: none, nothing hostile is read."""
        return {}

    def blocks(self) -> Iterator[bytes]:
        """Yield blocks of the usual size."""
        while self.samples_left:
            count = min(BLOCK_SAMPLES, self.samples_left)
            self.samples += count
            self.samples_left -= count
            yield bytes(2 * count)


class _MadeUpSpeech:
    """Hear speech that comes and goes, with a window's probability for each 512 samples."""

    def __init__(self, model: object) -> None:
        self._random = np.random.default_rng(0)
        self._samples = self._windows = 0

    def push(self, samples: Any) -> Probabilities:
        """Return the probabilities of the whole windows that came."""
        self._samples += len(samples)
        return self._take(self._samples // WINDOW_SAMPLES)

    def finish(self) -> Probabilities:
        """Return that of the last, shorter window."""
        return self._take(-(-self._samples // WINDOW_SAMPLES))

    def _take(self, until: int) -> Probabilities:
        times = np.arange(self._windows, until) * WINDOW_SAMPLES / SAMPLING_RATE
        self._windows = until
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * times / 7) + self._random.normal(0, 0.05, len(times))
        return np.clip(wave, 0, 1).astype(np.float32)


@contextmanager
def made_up_ingest(seconds: float) -> Iterator[None]:
    """Let ``ingest`` take made-up samples and probabilities in place of a decoder and a model."""

    @contextmanager
    def decode(file: object, options: object) -> Iterator[_MadeUpDecoding]:
        yield _MadeUpDecoding(round(seconds * SAMPLING_RATE))

    names: dict[str, Any] = {
        "decode": decode,
        "SpeechStream": _MadeUpSpeech,
        "load_speech_model": lambda: None,
    }
    before = {name: getattr(pipeline.ingest, name) for name in names}
    for name, made_up in names.items():
        setattr(pipeline.ingest, name, made_up)
    try:
        yield
    finally:
        for name, real in before.items():
            setattr(pipeline.ingest, name, real)
