"""Decode one media file with PyAV into 16 kHz int16 blocks; runs in the decode child only.

Formats and codecs are allow-lists: what is not named here is refused before its parser or decoder runs. Nested files
cannot be opened at all, so that nothing that a file points to is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO

import av
import av.error
import av.logging
import numpy as np
from numpy.typing import NDArray

from pipeline.decode_report import Media, Tally
from pipeline.errors import (
    CorruptContainer,
    DrmProtected,
    InvalidSampleRate,
    NoAudioStream,
    UnsupportedChannelLayout,
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
from pipeline.timeline import SAMPLING_RATE, Channels, Samples

FORMATS = "wav,w64,mp3,flac,ogg,mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,aac,aiff,caf,amr,asf"
CODECS = (
    "mp3,mp3float,mp2,mp2float,mp1,mp1float,aac,flac,alac,vorbis,opus,libopus,speex,ac3,eac3,"
    "amrnb,amrwb,libopencore_amrnb,libopencore_amrwb,gsm,gsm_ms,g722,g726,wmav1,wmav2,wmapro,wmavoice,"
    "adpcm_ms,adpcm_ima_wav,adpcm_ima_qt,adpcm_yamaha,pcm_alaw,pcm_mulaw,pcm_u8,pcm_s8,pcm_s16le,pcm_s16be,"
    "pcm_s24le,pcm_s24be,pcm_s32le,pcm_s32be,pcm_f32le,pcm_f32be,pcm_f64le,pcm_f64be"
)
MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 4_000, 384_000  # Hz
MAX_CHANNELS = 8

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
    """An opened file: its container, the chosen stream, and what the header says."""

    container: av.container.InputContainer
    stream: av.audio.AudioStream
    codec: str
    audio_streams: int
    declared_seconds: float | None


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
    declared = cut_wav_seconds if cut_wav_seconds or estimated else _declared_seconds(container, stream)
    return Source(container, stream, codec, len(streams), declared)


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


def decode(source: Source, channels: Channels, tally: Tally) -> Iterator[Samples]:
    """Yield the timeline in blocks of about a second: ``(samples, timeline channels)`` int16, contiguous.

    The first frame decides on the number of channels; ``tally`` is kept up to date. A packet that will not decode is
    counted and passed over. Raises ``InvalidSampleRate`` and ``UnsupportedChannelLayout``.
    """
    timeline_channels = 0
    for block in _resampled(source, tally):
        if not timeline_channels:
            timeline_channels = _timeline_channels(block.shape[1], channels)
        yield _to_timeline(block, channels, timeline_channels, tally)


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
        _check_rate(context.sample_rate)
    _check_channels(context.layout.nb_channels)


def _check_rate(sampling_rate: int) -> None:
    if not MIN_SAMPLING_RATE <= sampling_rate <= MAX_SAMPLING_RATE:
        raise InvalidSampleRate(
            f"the sampling rate is {sampling_rate} Hz: {MIN_SAMPLING_RATE} to {MAX_SAMPLING_RATE} are accepted"
        )


def _check_channels(count: int) -> None:
    if not 1 <= count <= MAX_CHANNELS:
        said = f"{count} channels" if count else "no channel count that can be used"
        raise UnsupportedChannelLayout(f"the file has {said}: 1 to {MAX_CHANNELS} are accepted")


def _declared_seconds(container: av.container.InputContainer, stream: av.audio.AudioStream) -> float | None:
    """Return the length of the stream as its header has it; of the container only when nothing else is in it."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if clock := stream.metadata.get("DURATION"):  # Matroska: 00:00:03.021000000
        return _clock_seconds(clock)
    if container.duration is not None and len(container.streams) == 1:
        return float(Fraction(container.duration, av.time_base))
    return None


def _clock_seconds(clock: str) -> float | None:
    try:
        hours, minutes, seconds = (float(part) for part in clock.split(":"))
    except ValueError:
        return None
    return hours * 3_600 + minutes * 60 + seconds


def _resampled(source: Source, tally: Tally) -> Iterator[Samples]:
    """Yield ``(samples, source channels)`` at 16 kHz."""
    chain: _Chain | None = None
    for frame in _frames(source, tally):
        if chain is None or not chain.takes(frame):
            if chain is not None:
                yield from chain.finish()
            chain = _Chain(frame, tally)
        yield from chain.push(frame)
    if chain is not None:
        yield from chain.finish()


def _frames(source: Source, tally: Tally) -> Iterator[av.AudioFrame]:
    packets = source.container.demux(source.stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            tally.decode_errors += 1
            return  # the demuxer cannot go on from here
        tally.packets += 1
        try:
            yield from packet.decode()
        except av.error.FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            tally.decode_errors += 1


class _Chain:
    """Collect frames to a second, clean them, and resample; as long as rate, layout and format stay the same.

    A second at a time costs a third less than frame by frame, and makes the look for non-finite values cheap.
    """

    def __init__(self, first: av.AudioFrame, tally: Tally) -> None:
        _check_rate(first.sample_rate)
        _check_channels(first.layout.nb_channels)
        self._tally = tally
        self._shape = _shape(first)
        self._channels = first.layout.nb_channels
        self._is_float = first.format.name.startswith(("flt", "dbl"))
        self._second = first.sample_rate
        self._fifo = av.AudioFifo()
        self._resampler = av.AudioResampler(format="s16", layout=first.layout, rate=SAMPLING_RATE)

    def takes(self, frame: av.AudioFrame) -> bool:
        return _shape(frame) == self._shape

    def push(self, frame: av.AudioFrame) -> Iterator[Samples]:
        frame.pts = None  # times come from counting samples; the queue would refuse a gap
        self._fifo.write(frame)
        while self._fifo.samples >= self._second:
            yield from self._resample(self._fifo.read(self._second))

    def finish(self) -> Iterator[Samples]:
        rest = self._fifo.read()
        if rest is not None:
            yield from self._resample(rest)
        yield from self._resample(None)

    def _resample(self, frame: av.AudioFrame | None) -> Iterator[Samples]:
        if frame is not None and self._is_float:
            _clean(frame, self._tally)
        for resampled in self._resampler.resample(frame):
            if resampled.samples:
                samples: Samples = (
                    resampled.to_ndarray().reshape(-1, self._channels).astype(np.int16, copy=False)
                )
                yield samples


def _shape(frame: av.AudioFrame) -> tuple[int, str, str]:
    return frame.sample_rate, frame.layout.name, frame.format.name


def _clean(frame: av.AudioFrame, tally: Tally) -> None:
    """Zero what is no number and clip the rest, in place: one NaN would spoil everything after the resampler."""
    width = np.float64 if frame.format.name.startswith("dbl") else np.float32
    count = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    for plane in frame.planes:
        values: NDArray[np.floating] = np.frombuffer(plane, dtype=width, count=count)  # type: ignore[call-overload]
        tally.source_values += count
        lowest, highest = values.min(), values.max()
        if lowest >= -1 and highest <= 1:  # False for NaN
            continue
        tally.non_finite_values += count - int(np.count_nonzero(np.isfinite(values)))
        np.nan_to_num(values, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        np.clip(values, -1, 1, out=values)


def _timeline_channels(source_channels: int, channels: Channels) -> int:
    if channels is Channels.MIX:
        return 1
    if source_channels > 2:
        raise UnsupportedChannelLayout(
            f"the file has {source_channels} channels and can be mixed; only one or two can be split"
        )
    return source_channels


def _to_timeline(block: Samples, channels: Channels, timeline_channels: int, tally: Tally) -> Samples:
    """Average or keep the channels of ``(samples, source channels)``; counts samples and energies."""
    tally.samples += len(block)
    if block.shape[1] == timeline_channels:
        return block
    if channels is Channels.SPLIT:  # the stream changed its mind: mono after stereo is on both sides
        return np.ascontiguousarray(np.resize(block, (len(block), timeline_channels)))
    wide = block.astype(np.float32) / 32_768
    mix = wide.mean(axis=1, keepdims=True)
    tally.channel_energy += float(np.square(wide).sum(dtype=np.float64)) / block.shape[1]
    tally.mix_energy += float(np.square(mix).sum(dtype=np.float64))
    rounded: Samples = np.rint(mix * 32_768).astype(np.int16)
    return rounded
