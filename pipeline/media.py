"""Open one media file with PyAV and read its header; runs in throw-away children only.

Formats and codecs are allow-lists: what is not named here is refused before its parser or decoder runs. Nested files
cannot be opened at all, so that nothing that a file points to is read.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import av.error
import av.logging

from pipeline.decode_report import Media
from pipeline.errors import (
    CorruptContainer,
    DrmProtected,
    InvalidSampleRate,
    NoAudioStream,
    UnsupportedFormat,
    UnsupportedOrCorrupt,
)
from pipeline.media_header import (
    HEAD_BYTES,
    declared_wav_seconds,
    has_known_signature,
    is_protected,
    refuse_what_is_no_recording,
)
from pipeline.media_limits import check_channels, check_rate

FORMATS = "wav,w64,mp3,flac,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,aiff,caf,amr,asf"
CODECS = (
    "mp3,mp3float,mp2,mp2float,mp1,mp1float,aac,flac,alac,vorbis,opus,libopus,speex,ac3,eac3,"
    "amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,gsm,gsm_ms,g722,g726,wmav1,wmav2,wmapro,wmavoice,"
    "adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,"
    "pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)

STAMPED_FORMATS = ("mov", "matroska", "asf")  # which say of each packet when it is heard

_OPEN_OPTIONS = {
    "format_whitelist": FORMATS,
    "codec_whitelist": CODECS,  # for the decoders that probing starts; the stream's own is set apart
    "protocol_whitelist": "none",
    "max_streams": "32",
    "analyzeduration": "10000000",  # microseconds
    "probesize": "10000000",  # bytes
}
_READ_BYTES = 256 * 1024


@dataclass(frozen=True)
class Source:
    """An opened file: its container, the chosen stream, and what the header says.

    ``origin_seconds`` is where the file's clock starts, None where it has none: its times are what the samples count.
    """

    container: av.container.InputContainer
    stream: av.audio.AudioStream
    codec: str
    audio_streams: int
    declared_seconds: float | None
    origin_seconds: float | None = None


def open_audio(file: BinaryIO) -> Source:
    """Open a seekable file and choose its audio stream; raises the ``InvalidAudio`` tree."""
    size_bytes = os.fstat(file.fileno()).st_size
    file.seek(0)
    head = file.read(HEAD_BYTES)
    refuse_what_is_no_recording(head)
    if is_protected(file):
        raise DrmProtected("the audio is encrypted (DRM): submit an unprotected copy")
    cut_wav_seconds = declared_wav_seconds(file, size_bytes)
    file.seek(0)
    container, logs = _open_container(file, head)
    streams = container.streams.audio
    if not streams:
        raise NoAudioStream(f"the file ({container.format.name}) holds no audio stream")
    stream = next((s for s in streams if s.disposition & av.stream.Disposition.default), streams[0])
    codec = _allow_codec(stream)
    _check_layout(stream)
    estimated = "Estimating duration from bitrate" in logs
    origin = _origin_seconds(container)
    declared = (
        cut_wav_seconds if cut_wav_seconds or estimated else _declared_seconds(container, stream, origin)
    )
    return Source(container, stream, codec, len(streams), declared, origin)


def describe(source: Source) -> Media:
    """Return what the header says."""
    context = source.stream.codec_context
    return Media(
        container=source.container.format.name,
        codec=source.codec,
        sampling_rate=context.sample_rate,
        channels=context.layout.nb_channels,
        declared_seconds=source.declared_seconds,
        audio_streams=source.audio_streams,
        audio_stream=source.stream.index,
    )


def _open_container(file: BinaryIO, head: bytes) -> tuple[av.container.InputContainer, str]:
    """Open the file; also return what FFmpeg said meanwhile, which tells apart what its error codes do not."""
    av.logging.set_level(av.logging.WARNING)
    av.logging.set_skip_repeated(False)  # or a message would turn up behind that of the next file
    try:
        with av.logging.Capture(local=False) as logs:
            container = av.open(
                file, "r", options=_OPEN_OPTIONS, buffer_size=_READ_BYTES, metadata_errors="replace"
            )
    except MemoryError:
        raise
    except (av.error.FFmpegError, OSError, ValueError) as error:
        said = _text(logs)
        if "not on whitelist" in said:
            raise UnsupportedFormat("this file format is not accepted") from error
        if "Invalid sample rate" in said:
            raise InvalidSampleRate("the header's sampling rate is not a rate") from error
        if has_known_signature(head):
            raise CorruptContainer(
                "the file begins well and cannot be opened: it is damaged or cut off. Upload it again; for MP4 "
                "write it with its index first (faststart)"
            ) from error
        raise UnsupportedOrCorrupt("the bytes are of no known audio format") from error
    finally:
        av.logging.set_level(None)  # a message per bad packet would cost more than decoding
    return container, _text(logs)


def _text(logs: list[tuple[int, str, str]]) -> str:
    return "\n".join(message for _level, _name, message in logs)


def _allow_codec(stream: av.audio.AudioStream) -> str:
    context = stream.codec_context
    if context is None or context.name not in CODECS.split(","):
        name = "of this file" if context is None else context.name
        raise UnsupportedFormat(f"the audio codec {name} is not accepted")
    context.options = {"codec_whitelist": CODECS}
    context.thread_count = 1
    return context.codec.canonical_name


def _check_layout(stream: av.audio.AudioStream) -> None:
    """Refuse what the header says before a decoder is built for it; 0 Hz is left to the first frame."""
    context = stream.codec_context
    if context.sample_rate:
        check_rate(context.sample_rate)
    check_channels(context.layout.nb_channels)


def _origin_seconds(container: av.container.InputContainer) -> float | None:
    if container.format.name.partition(",")[0] not in STAMPED_FORMATS:
        return None
    return (container.start_time or 0) / av.time_base


def _declared_seconds(
    container: av.container.InputContainer, stream: av.audio.AudioStream, origin_seconds: float | None
) -> float | None:
    """Return where the stream ends as its header has it; the container only when nothing else is in it."""
    if stream.duration is not None and stream.time_base is not None:
        start = 0 if origin_seconds is None else (stream.start_time or 0) * stream.time_base
        return float(start + stream.duration * stream.time_base) - (origin_seconds or 0.0)
    if clock := stream.metadata.get("DURATION"):  # Matroska: 00:00:03.021000000
        seconds = _clock_seconds(clock)
        return None if seconds is None else seconds - (origin_seconds or 0.0)
    if container.duration is not None and len(container.streams) == 1:
        return float(Fraction(container.duration, av.time_base))
    return None


def _clock_seconds(clock: str) -> float | None:
    try:
        hours, minutes, seconds = (float(part) for part in clock.split(":"))
    except ValueError:
        return None
    return hours * 3_600 + minutes * 60 + seconds
