"""Read the decode child's report and judge the recording by it: refuse it, or say what was odd about it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pipeline.errors import (
    CorruptAudio,
    DurationLimitExceeded,
    InvalidAudio,
    InvalidSamples,
    NoAudioSamples,
    TooShort,
    UnsupportedOrCorrupt,
    invalid_audio,
)
from pipeline.timeline import MIN_RECORDING_SAMPLES, SAMPLING_RATE, to_ms

COMPLETE_SHARE = 0.95  # of the declared length: what is shorter is cut off
HEARABLE_SHARE = 0.5  # of the declared length: what is shorter and damaged is refused
DAMAGED_PACKETS_SHARE = 0.01  # from here on a shortfall is damage inside, and not a file that was cut off
NON_FINITE_SHARE = 0.01  # of the samples: from here on it is worth a warning
PHASE_INVERTED_SHARE = 0.01  # of the channels' energy is left in the mix (-20 dB)
GUESSED_FORMATS = ("mp3", "aac", "amr")  # raw frames: random bytes can pass for them


@dataclass(frozen=True)
class AudioWarning:
    """Something odd about a recording that was processed all the same; its text is ``code: message``."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class Media:
    """What a file's header says; nothing is planned from it."""

    container: str  # FFmpeg's name, such as ``mp3`` or ``mov,mp4,m4a,3gp,3g2,mj2``
    codec: str
    sampling_rate: int  # Hz
    channels: int
    declared_seconds: float | None  # None when the header does not say
    audio_streams: int
    audio_stream: int  # the index of the one that was taken


@dataclass
class Tally:
    """What decoding has come across so far."""

    packets: int = 0
    decode_errors: int = 0  # packets that would not decode
    source_values: int = 0  # of float formats, all channels
    non_finite_values: int = 0
    samples: int = 0  # of one channel, at 16 kHz
    gap_samples: int = 0  # of them silence where the file says that nothing was recorded
    lost_samples: int = 0  # of them silence where packets would not decode
    channel_energy: float = 0.0  # sum of squares, the mean over the channels; full scale is 1
    mix_energy: float = 0.0


def parse_report(line: bytes) -> dict[str, Any] | InvalidAudio:
    """Return one line of the child's report with its values built, or the refusal that it tells.

    Raises ``ValueError``, ``TypeError`` or ``KeyError`` for what is no report.
    """
    report = json.loads(line)
    if "error" in report:
        return invalid_audio(report["error"]["code"], report["error"]["message"])
    if "end" in report:
        return {"end": Tally(**report["end"])}
    if report["timeline_channels"] not in (1, 2):
        raise ValueError("a timeline has one channel or two")
    return {**report, "media": Media(**report["media"])}


def judge(media: Media, tally: Tally, max_samples: int) -> tuple[AudioWarning, ...]:
    """Return what was odd, or raise the ``InvalidAudio`` leaf for what cannot be processed.

    A file that was cut off keeps what decodes, however short: it is processed with the warning ``truncated``. Only
    one that is *damaged* and has less than half left is refused as ``corrupt_audio``.
    """
    _refuse(media, tally, max_samples)
    warnings = [_length_warning(media, tally)]
    if tally.decode_errors:
        warnings.append(AudioWarning("decode_errors", f"{tally.decode_errors} packets would not decode"))
    if tally.gap_samples:
        gaps = tally.gap_samples / SAMPLING_RATE
        warnings.append(
            AudioWarning("gaps", f"{gaps:.2f} s without sound by the file's own times, now silence")
        )
    if tally.non_finite_values > NON_FINITE_SHARE * tally.source_values:
        share = tally.non_finite_values / tally.source_values
        warnings.append(
            AudioWarning("non_finite_samples", f"{share:.1%} of the samples were no numbers, now 0")
        )
    if tally.mix_energy < PHASE_INVERTED_SHARE * tally.channel_energy:
        warnings.append(
            AudioWarning("phase_inverted", "the mix is far quieter than its channels: try channels=split")
        )
    if media.audio_streams > 1:
        warnings.append(
            AudioWarning(
                "several_audio_streams",
                f"took stream {media.audio_stream} of {media.audio_streams} with audio",
            )
        )
    return tuple(warning for warning in warnings if warning is not None)


def _refuse(media: Media, tally: Tally, max_samples: int) -> None:
    if tally.samples > max_samples:
        raise DurationLimitExceeded(
            f"the recording is longer than the allowed {max_samples / SAMPLING_RATE:g} s"
        )
    if tally.samples == 0 and tally.decode_errors:
        if media.container in GUESSED_FORMATS:
            raise UnsupportedOrCorrupt("the bytes are of no known audio format")
        raise CorruptAudio(f"none of the {tally.packets} packets decoded")
    if tally.samples == 0:
        raise NoAudioSamples("the file announces audio and holds none")
    if tally.source_values and tally.non_finite_values == tally.source_values:
        raise InvalidSamples("not one sample is a finite number")
    if tally.samples < MIN_RECORDING_SAMPLES:
        raise TooShort(f"the recording has {to_ms(tally.samples)} ms: 100 ms are the least")
    if _is_damaged(tally) and _share(media, tally) < HEARABLE_SHARE:
        raise CorruptAudio(
            f"declared {media.declared_seconds:.2f} s, of which {_heard_seconds(tally):.2f} s decoded, with "
            f"{tally.decode_errors} bad packets"
        )


def _length_warning(media: Media, tally: Tally) -> AudioWarning | None:
    """Compare lengths: within 1 s or 1 % is what padding and rounding explain, in a short file 5 %."""
    if media.declared_seconds is None:
        return None
    decoded = _heard_seconds(tally)
    missing = media.declared_seconds - decoded
    text = f"declared {media.declared_seconds:.2f} s, decoded {decoded:.2f} s"
    if is_cut_off(media, tally) or missing > _tolerance(media.declared_seconds):
        return AudioWarning("truncated", text)
    if -missing > _tolerance(media.declared_seconds):
        return AudioWarning("longer_than_declared", text)
    return None


def is_cut_off(media: Media, tally: Tally) -> bool:
    """Say whether so much is missing that the recording counts as partial."""
    missing = (media.declared_seconds or 0.0) - _heard_seconds(tally)
    return _share(media, tally) < COMPLETE_SHARE and missing > 0.25


def _tolerance(declared_seconds: float) -> float:
    return max(1.0, 0.01 * declared_seconds)


def _share(media: Media, tally: Tally) -> float:
    if not media.declared_seconds:
        return 1.0
    return _heard_seconds(tally) / media.declared_seconds


def _heard_seconds(tally: Tally) -> float:
    """Return how much there is without what was lost."""
    return (tally.samples - tally.lost_samples) / SAMPLING_RATE


def _is_damaged(tally: Tally) -> bool:
    return tally.decode_errors > max(1.0, DAMAGED_PACKETS_SHARE * tally.packets)
