"""Turn the frames of an opened file into 16 kHz int16 blocks of the timeline; runs in the decode child only."""

from __future__ import annotations

from collections.abc import Iterator

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from pipeline.decode_report import Tally
from pipeline.errors import UnsupportedChannelLayout
from pipeline.media import Source
from pipeline.media_clock import Clock
from pipeline.media_limits import check_channels, check_rate
from pipeline.timeline import SAMPLING_RATE, Channels, Samples


def decode(source: Source, channels: Channels, tally: Tally) -> Iterator[Samples]:
    """Yield the timeline in blocks of about a second: ``(samples, timeline channels)`` int16, contiguous.

    The first frame decides on the number of channels; ``tally`` is kept up to date. A packet that will not decode is
    counted and passed over. Raises ``InvalidSampleRate`` and ``UnsupportedChannelLayout``.
    """
    timeline_channels = 0
    for block in _resampled(source, tally):
        if not timeline_channels:
            timeline_channels = _timeline_channels(block.shape[1], channels)
        yield _to_timeline(block, timeline_channels, tally)


def _resampled(source: Source, tally: Tally) -> Iterator[Samples]:
    """Yield ``(samples, source channels)`` at 16 kHz, with silence where the file says that nothing was recorded."""
    chain: _Chain | None = None
    clock = Clock(source.origin_seconds, source.declared_seconds)
    errors = 0
    for frame in _frames(source, tally):
        if silence := clock.silence_before(frame.time, frame.samples, frame.sample_rate):
            if chain is not None:
                yield from chain.finish()
            chain = None
            if tally.decode_errors > errors:
                tally.lost_samples += silence
            else:
                tally.gap_samples += silence
            yield from _silence(silence, frame.layout.nb_channels)
        errors = tally.decode_errors
        if chain is None or not chain.takes(frame):
            if chain is not None:
                yield from chain.finish()
            chain = _Chain(frame, tally)
        yield from chain.push(frame)
    if chain is not None:
        yield from chain.finish()


def _silence(samples: int, channels: int) -> Iterator[Samples]:
    check_channels(channels)
    for start in range(0, samples, SAMPLING_RATE):
        yield np.zeros((min(SAMPLING_RATE, samples - start), channels), np.int16)


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
        check_rate(first.sample_rate)
        check_channels(first.layout.nb_channels)
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


def _to_timeline(block: Samples, timeline_channels: int, tally: Tally) -> Samples:
    """Average or keep the channels of ``(samples, source channels)``; counts samples and energies."""
    tally.samples += len(block)
    if block.shape[1] == timeline_channels:
        return block
    if block.shape[1] == 1:  # the stream changed its mind: mono after stereo is on both sides
        return np.repeat(block, timeline_channels, axis=1)
    wide = block.astype(np.float32) / 32_768
    mix = wide.mean(axis=1, keepdims=True)
    tally.channel_energy += float(np.square(wide).sum(dtype=np.float64)) / block.shape[1]
    tally.mix_energy += float(np.square(mix).sum(dtype=np.float64))
    rounded: Samples = np.rint(mix * 32_768).astype(np.int16)
    return np.repeat(rounded, timeline_channels, axis=1)
