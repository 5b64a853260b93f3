"""Fix what a timeline is: 16 kHz, 16-bit little-endian PCM, one channel or two interleaved, counted in samples."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE = 16_000  # samples of one channel per second
SAMPLE_BYTES = 2  # int16
MAX_HEARD_SAMPLES = 30 * SAMPLING_RATE  # 480,000: what the model hears at once
MIN_RECORDING_SAMPLES = SAMPLING_RATE // 10  # 1,600: under 0.1 s there is nothing to hear
SAMPLES_PER_MS = SAMPLING_RATE // 1_000

Samples = NDArray[np.int16]


class Channels(StrEnum):
    """What becomes of a recording's channels."""

    MIX = "mix"  # one channel: their average
    SPLIT = "split"  # two channels stay apart; a mono recording stays one


@dataclass(frozen=True)
class Timeline:
    """The facts of a decoded recording; the samples themselves lie in object storage."""

    samples: int  # of one channel
    channel_count: int
    sha256: str  # of the PCM bytes, hexadecimal

    @property
    def size_bytes(self) -> int:
        """How long the PCM is."""
        return self.samples * self.channel_count * SAMPLE_BYTES

    @property
    def duration_ms(self) -> int:
        """The duration in whole milliseconds."""
        return to_ms(self.samples)


def to_ms(samples: int) -> int:
    """Return the millisecond in which a sample lies (rounded down)."""
    return samples // SAMPLES_PER_MS


def to_samples(ms: int) -> int:
    """Return the first sample of a millisecond."""
    return ms * SAMPLES_PER_MS


def byte_range(start: int, end: int, channel_count: int) -> tuple[int, int]:
    """Return where the samples ``start`` to ``end`` of all channels lie in the PCM bytes, half open."""
    frame_bytes = channel_count * SAMPLE_BYTES
    return start * frame_bytes, end * frame_bytes


def channel_samples(pcm: bytes, channel: int, channel_count: int) -> Samples:
    """Return one channel of interleaved PCM: ``(samples,)`` int16."""
    return np.frombuffer(pcm, dtype="<i2").reshape(-1, channel_count)[:, channel]


def to_float(samples: Samples) -> NDArray[np.float32]:
    """Return the samples scaled to [-1, 1), as the models take them."""
    return np.asarray(samples, dtype=np.float32) / np.float32(32_768)
