"""Speak the lines of the sample recordings with espeak-ng, which only their making needs."""

from __future__ import annotations

import io
import shutil
import subprocess
import wave

import numpy as np
from numpy.typing import NDArray

from samples.scenes import Say

VOICE_SAMPLING_RATE = 22_050  # espeak-ng's own
QUIET = 100  # of 32,767: what lies before the first and behind the last sample above it is not speech


class EspeakMissing(RuntimeError):
    """The speech synthesiser is not installed."""

    code = "espeak_missing"
    retryable = False


def speak(line: Say) -> NDArray[np.int16]:
    """Return ``(samples,)`` of a line at 22,050 Hz, without silence around it; raises ``EspeakMissing``."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise EspeakMissing(
            "espeak-ng speaks the sample recordings and is not installed: install the package espeak-ng. "
            "Only making the samples again needs it; the recordings in samples/audio are ready to use."
        )
    speaker = line.speaker
    command = [program, "-v", speaker.voice, "-s", str(speaker.words_per_minute), "-p", str(speaker.pitch)]
    said = subprocess.run(  # noqa: S603 - our own words, no shell
        [*command, "--stdin", "--stdout"], input=line.text.encode("utf-8"), capture_output=True, check=True
    )
    return _trimmed(_samples(said.stdout))


def _samples(riff: bytes) -> NDArray[np.int16]:
    # A WAV that was written to a pipe has no true length in its header: read what is there.
    with wave.open(io.BytesIO(riff)) as reader:
        assert (reader.getnchannels(), reader.getsampwidth(), reader.getframerate()) == (
            1,
            2,
            VOICE_SAMPLING_RATE,
        )
        frames = reader.readframes(len(riff) // 2)
    return np.frombuffer(frames[: len(frames) // 2 * 2], dtype="<i2").astype(np.int16)


def _trimmed(samples: NDArray[np.int16]) -> NDArray[np.int16]:
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > QUIET)
    return samples[loud[0] : loud[-1] + 1]
