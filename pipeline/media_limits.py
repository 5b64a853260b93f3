"""Say which sampling rates and how many channels a recording may have."""

from __future__ import annotations

from pipeline.errors import InvalidSampleRate, UnsupportedChannelLayout

MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 8


def check_rate(sampling_rate: int) -> None:
    """Raise ``InvalidSampleRate`` for what no recording has."""
    if not MIN_SAMPLING_RATE <= sampling_rate <= MAX_SAMPLING_RATE:
        raise InvalidSampleRate(
            f"the sampling rate is {sampling_rate} Hz: {MIN_SAMPLING_RATE} to {MAX_SAMPLING_RATE} are accepted"
        )


def check_channels(count: int) -> None:
    """Raise ``UnsupportedChannelLayout`` for none and for too many."""
    if not 1 <= count <= MAX_CHANNELS:
        said = f"{count} channels" if count else "no channel count that can be used"
        raise UnsupportedChannelLayout(f"the file has {said}: 1 to {MAX_CHANNELS} are accepted")
