"""Lay pieces of sound on the tracks of a recording and write it as a file.

pydub gets raw PCM and PyAV writes the files, so that no ffmpeg program is needed. The same versions of these make the
same bytes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.typing import NDArray

from training.samples.scenes import Encoding
from training.synthesis.sounds import SAMPLING_RATE

if TYPE_CHECKING:
    from pydub import AudioSegment

FULL_SCALE = 32_767


@dataclass(frozen=True)
class Piece:
    """Samples (n,) at 16 kHz, at most 1 in size, that begin at a time; ``channel`` is None where all carry them."""

    samples: NDArray[np.floating]
    start_ms: int
    channel: int | None = None


def lay(pieces: list[Piece], length_ms: int, channels: int) -> NDArray[np.int16]:
    """Return ``(samples, channels)`` at 16 kHz: every piece on its channel, or on all of them."""
    tracks = []
    for channel in range(channels):
        track = _pydub().silent(length_ms, frame_rate=SAMPLING_RATE)
        for piece in pieces:
            if piece.channel in (None, channel):
                track = track.overlay(_segment(piece.samples), position=piece.start_ms)
        tracks.append(np.frombuffer(track.raw_data, dtype="<i2"))
    return np.stack(tracks, axis=1)


def _segment(samples: NDArray[np.floating]) -> AudioSegment:
    """Hand ``(samples,)`` to pydub as raw PCM."""
    whole = np.round(np.clip(samples, -1, 1) * FULL_SCALE).astype("<i2")
    return _pydub()(data=whole.tobytes(), sample_width=2, frame_rate=SAMPLING_RATE, channels=1)


def _pydub() -> type[AudioSegment]:
    with warnings.catch_warnings():
        # pydub looks for ffmpeg and old standard modules when it is imported; raw PCM needs none of them.
        warnings.simplefilter("ignore")
        from pydub import AudioSegment
    found: type[AudioSegment] = AudioSegment
    return found


def encode(samples: NDArray[np.int16], encoding: Encoding, path: Path) -> None:
    """Write ``(samples, channels)`` at 16 kHz as a file of the wanted rate and codec."""
    layout = "mono" if encoding.channels == 1 else "stereo"
    # Without bitexact an Ogg stream gets a random serial number, and every making would differ.
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoding.codec, rate=encoding.sampling_rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        if encoding.bit_rate is not None:
            stream.bit_rate = encoding.bit_rate
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout=layout
        )
        frame.sample_rate = SAMPLING_RATE
        frame.time_base = Fraction(1, SAMPLING_RATE)
        frame.pts = 0
        # The encoder takes frames of its own size; without one it takes what comes.
        resampler = av.AudioResampler(
            stream.format.name,
            layout,
            encoding.sampling_rate,
            frame_size=stream.codec_context.frame_size or None,
        )
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(piece))


def duration_ms(path: Path) -> int:
    """Return what a decoder gives, which is not always what the encoder got."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return sum(frame.samples for frame in container.decode(stream)) * 1_000 // stream.rate
