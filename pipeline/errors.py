"""Name everything that can be wrong with a recording, with a stable code and whether a retry can help.

The codes are part of the API (``recordings.error_code``): a code keeps its meaning for ever.
"""

from __future__ import annotations

from collections.abc import Mapping


class AudioError(Exception):
    """A recording could not be turned into a timeline."""

    code = "audio_error"
    retryable = False


class InvalidAudio(AudioError):
    """The recording itself is at fault: another try on the same bytes cannot help."""

    code = "invalid_audio"


class EmptyFile(InvalidAudio):
    """The object holds no bytes."""

    code = "empty_file"


class UnsupportedOrCorrupt(InvalidAudio):
    """The bytes are of no media format that can be recognised."""

    code = "unsupported_or_corrupt"


class UnsupportedFormat(InvalidAudio):
    """The format or codec is recognised and not accepted, such as a playlist that points elsewhere."""

    code = "unsupported_format"


class CorruptContainer(InvalidAudio):
    """The file begins like a known format and cannot be opened, such as an M4A that lost its index."""

    code = "corrupt_container"


class NoAudioStream(InvalidAudio):
    """The file holds no audio, such as a silent film or a picture."""

    code = "no_audio_stream"


class NoAudioSamples(InvalidAudio):
    """The file announces audio and holds not one sample of it."""

    code = "no_audio_samples"


class InvalidSampleRate(InvalidAudio):
    """The sampling rate lies outside what recordings have."""

    code = "invalid_sample_rate"


class UnsupportedChannelLayout(InvalidAudio):
    """The number of channels cannot be mixed or split."""

    code = "unsupported_channel_layout"


class InvalidSamples(InvalidAudio):
    """Not one sample is a finite number."""

    code = "invalid_samples"


class TooShort(InvalidAudio):
    """The recording is shorter than anything that can be heard."""

    code = "too_short"


class DurationLimitExceeded(InvalidAudio):
    """The recording decodes to more audio than is allowed."""

    code = "duration_limit_exceeded"


class CorruptAudio(InvalidAudio):
    """So much of the audio is damaged that the rest says little about the recording."""

    code = "corrupt_audio"


class DrmProtected(InvalidAudio):
    """The audio is encrypted."""

    code = "drm_protected"


class DecodeTimeout(AudioError):
    """The decoder used up its time: the recording is hostile, or the machine had too much to do."""

    code = "decode_timeout"
    retryable = True  # attempts are counted, so a hostile one costs a few timeouts and no more


class DecodeCrashed(AudioError):
    """The decoding process ended without a report; ``last_words`` is the end of its stderr, for the log only."""

    code = "decode_crashed"
    retryable = True

    def __init__(self, message: str, last_words: str = "") -> None:
        super().__init__(message)
        self.last_words = last_words


class SpeechModelMissing(AudioError):
    """The speech model is not installed."""

    code = "speech_model_missing"


def invalid_audio(code: str, message: str) -> InvalidAudio:
    """Return the error of this code; raises ``KeyError`` for a code that is no fault of a recording."""
    return _INVALID_AUDIO[code](message)


_INVALID_AUDIO: Mapping[str, type[InvalidAudio]] = {leaf.code: leaf for leaf in InvalidAudio.__subclasses__()}
