"""Decode the bundled recordings for whoever looks at them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

Decode = Callable[[Path], tuple[NDArray[np.float32], int]]
Loudness = Callable[[NDArray[np.float32], int, int, int], NDArray[np.float32]]


@pytest.fixture(scope="session")
def decode() -> Decode:
    """Return what turns a file into ``(samples, channels)`` and the sampling rate."""

    def decoded(path: Path) -> tuple[NDArray[np.float32], int]:
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            resampler = av.AudioResampler("flt", stream.layout, stream.rate)
            frames = [piece for frame in container.decode(stream) for piece in resampler.resample(frame)]
            channels = stream.channels
        return np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in frames]), stream.rate

    return decoded


@pytest.fixture(scope="session")
def loudness() -> Loudness:
    """Return what measures the RMS of each channel between two times in ms."""

    def measured(wave: NDArray[np.float32], rate: int, start_ms: int, end_ms: int) -> NDArray[np.float32]:
        piece = wave[start_ms * rate // 1_000 : end_ms * rate // 1_000]
        return np.sqrt(np.mean(piece**2, axis=0))

    return measured
