"""Turn a media file into a timeline, its speech map and its chunks, in one pass and with flat memory.

Three things overlap: the child process decodes, one thread per channel runs the speech model, one thread hashes and
hands the samples to the sink. Bounded queues hold back whoever is ahead.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from pipeline.chunking import ChunkSpan, plan_chunks
from pipeline.decode import DecodeOptions, Decoding, decode
from pipeline.decode_report import AudioWarning, Media
from pipeline.speech import SpeechModel, SpeechStream, load_speech_model
from pipeline.speech_spans import Probabilities
from pipeline.timeline import SAMPLING_RATE, Timeline, channel_samples

QUEUED_BLOCKS = 4  # of 8 s: enough to ride out a slow write, 1 MiB at most

Sink = Callable[[bytes], object]
Progress = Callable[[float], object]


@dataclass(frozen=True)
class Ingested:
    """What a recording turned out to be; its samples went to the sink."""

    timeline: Timeline
    media: Media
    chunks: tuple[tuple[ChunkSpan, ...], ...]  # by channel
    probabilities: tuple[Probabilities, ...]  # by channel: of speech, per 512 samples
    warnings: tuple[AudioWarning, ...]
    truncated: bool  # far less decoded than the header declared: the recording is partial
    confined: dict[str, bool]  # which walls of the sandbox the platform granted

    @property
    def speech_samples(self) -> int:
        """How many samples are speech, over all channels."""
        return sum(chunk.speech_samples for channel in self.chunks for chunk in channel)


def ingest(
    source_file: BinaryIO, sink: Sink, options: DecodeOptions, progress: Progress | None = None
) -> Ingested:
    """Decode an open local file; its PCM goes to ``sink`` block by block, in order, from another thread.

    ``progress`` is called from this thread with the seconds of audio decoded so far; what it or the sink raises ends
    the work and is passed on. Raises the ``AudioError`` tree. When anything is raised, the sink has had a part of the
    timeline that is to be thrown away.
    """
    model = load_speech_model()  # a missing one is noticed before the work begins
    with decode(source_file, options) as decoding:
        digest = hashlib.sha256()
        speech = [
            _ChannelSpeech(model, channel, decoding.channel_count)
            for channel in range(decoding.channel_count)
        ]

        def store(block: bytes) -> None:
            digest.update(block)
            sink(block)

        with _lanes(store, *(one.push for one in speech)) as give:
            for block in decoding.blocks():
                give(block)
                if progress is not None:
                    progress(decoding.samples / SAMPLING_RATE)
        return _ingested(decoding, digest.hexdigest(), [one.finish() for one in speech])


def _ingested(decoding: Decoding, sha256: str, probabilities: list[Probabilities]) -> Ingested:
    samples = decoding.samples
    return Ingested(
        timeline=Timeline(samples, decoding.channel_count, sha256),
        media=decoding.media,
        chunks=tuple(tuple(plan_chunks(samples, channel)) for channel in probabilities),
        probabilities=tuple(probabilities),
        warnings=decoding.warnings,
        truncated=decoding.truncated,
        confined=decoding.confined,
    )


class _ChannelSpeech:
    """Collect the speech probabilities of one channel."""

    def __init__(self, model: SpeechModel, channel: int, channel_count: int) -> None:
        self._stream = SpeechStream(model)
        self._channel, self._channel_count = channel, channel_count
        self._found: list[Probabilities] = []

    def push(self, block: bytes) -> None:
        self._found.append(self._stream.push(channel_samples(block, self._channel, self._channel_count)))

    def finish(self) -> Probabilities:
        return np.concatenate([*self._found, self._stream.finish()])


class _Lane:
    """A thread that does one thing with every block, behind a bounded queue."""

    def __init__(self, work: Callable[[bytes], object]) -> None:
        self._work = work
        self._queue: queue.Queue[bytes | None] = queue.Queue(QUEUED_BLOCKS)
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="ingest-lane", daemon=True)
        self.error: BaseException | None = None
        self._thread.start()

    def give(self, block: bytes) -> None:
        """Queue a block; raises what the work raised on an earlier one."""
        self._queue.put(block)
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Drop what is queued."""
        self._stopped = True

    def join(self) -> None:
        """Wait until everything that was given is done or dropped."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        # After an error the queue is still emptied: the giver must never wait for ever.
        while (block := self._queue.get()) is not None:
            if self.error is None and not self._stopped:
                try:
                    self._work(block)
                except BaseException as error:  # noqa: BLE001 - becomes data for the giver, who raises it
                    self.error = error


@contextmanager
def _lanes(*works: Callable[[bytes], object]) -> Iterator[Callable[[bytes], None]]:
    """Offer a function that gives a block to every lane; all are done when the ``with`` block has ended well."""
    lanes = [_Lane(work) for work in works]

    def give(block: bytes) -> None:
        for lane in lanes:
            lane.give(block)

    try:
        yield give
    except BaseException:
        for lane in lanes:
            lane.stop()
        raise
    finally:
        for lane in lanes:
            lane.join()
    for lane in lanes:
        if lane.error is not None:
            raise lane.error
