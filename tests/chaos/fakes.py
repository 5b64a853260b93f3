"""Stand in for what costs time: recordings made of a seed, a decoder that copies, an engine that says a hash.

What fails does so by its samples alone: a few recordings cannot be decoded, a few chunks are never heard, and a few
not before something has been mended, so that a retry finds both what fails again and what does not.
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

import numpy as np
from chaos.facts import MENDED, POISON, SOUND
from numpy.typing import NDArray

from pipeline.chunking import ChunkSpan
from pipeline.decode import DecodeOptions
from pipeline.decode_report import Media
from pipeline.errors import UnsupportedOrCorrupt
from pipeline.ingest import Ingested, Sink
from pipeline.timeline import Timeline
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import Prompt, Tag, TimeTag

CHUNK_SAMPLES = 4_000  # a quarter of a second, so that a recording of a few kilobytes has several chunks
OVERLAP_SAMPLES = 100  # heard on both sides
DECODE_SECONDS = 0.03  # for each chunk: a plan is long enough to be hit
MODEL = "chaos"
BROKEN_IN_256, POISON_IN_256, MENDED_IN_256 = 14, 5, 12  # recordings; chunks


def make_pcm(seed: int, number: int) -> bytes:
    """Return the samples of one recording: 2 to 8 chunks of noise, int16, the last chunk shorter."""
    dice = random.Random(f"{seed}/{number}")
    return dice.randbytes(2 * (dice.randint(2, 8) * CHUNK_SAMPLES - dice.randint(0, CHUNK_SAMPLES // 2)))


def spans_of(samples: int) -> list[ChunkSpan]:
    """Return the chunks of a recording."""
    starts = range(0, samples, CHUNK_SAMPLES)
    return [
        ChunkSpan(
            index,
            start,
            min(start + CHUNK_SAMPLES, samples),
            max(0, start - OVERLAP_SAMPLES),
            min(start + CHUNK_SAMPLES + OVERLAP_SAMPLES, samples),
            ((start, min(start + CHUNK_SAMPLES, samples)),),
        )
        for index, start in enumerate(starts)
    ]


def copy_ingest(
    source_file: BinaryIO,
    sink: Sink,
    options: DecodeOptions,
    progress: Callable[[float], object] | None = None,
) -> Ingested:
    """Take a file of samples for its own timeline; the place of ``pipeline.ingest.ingest``."""
    pcm = source_file.read()
    for start in range(0, len(pcm), 2 * CHUNK_SAMPLES):
        time.sleep(DECODE_SECONDS)
        sink(pcm[start : start + 2 * CHUNK_SAMPLES])
        if progress is not None:
            progress(start / 32_000)
    timeline = Timeline(len(pcm) // 2, 1, hashlib.sha256(pcm).hexdigest())
    media = Media("chaos", "pcm_s16le", 16_000, 1, None, 1, 0)
    return Ingested(timeline, media, (tuple(spans_of(timeline.samples)),), (), (), False, {})


def is_broken(pcm: bytes) -> bool:
    """Say whether a recording cannot be decoded."""
    return hashlib.sha256(b"broken" + pcm).digest()[0] < BROKEN_IN_256


def fate_of(clip: bytes) -> str:
    """Return what becomes of a clip: it is heard, or never, or once it has been mended."""
    draw = hashlib.sha256(b"fate" + clip).digest()[0]
    return POISON if draw < POISON_IN_256 else MENDED if draw < POISON_IN_256 + MENDED_IN_256 else SOUND


def breaking_ingest(
    source_file: BinaryIO,
    sink: Sink,
    options: DecodeOptions,
    progress: Callable[[float], object] | None = None,
) -> Ingested:
    """Take a file of samples as ``copy_ingest`` does; some break when all but their end has been decoded."""
    pcm = source_file.read()
    if is_broken(pcm):
        sink(pcm[: -2 * CHUNK_SAMPLES])
        raise UnsupportedOrCorrupt("the samples say that they cannot be decoded")
    source_file.seek(0)
    return copy_ingest(source_file, sink, options, progress)


def said_of(pcm: bytes, prompt: Prompt) -> str:
    """Return what the engine says of a clip: a hash of it, and what it was asked."""
    return f"{hashlib.sha256(pcm).hexdigest()} {style_of(prompt)}"


def style_of(prompt: Prompt) -> str:
    """Return a word for a prompt: a hash of it that has letters in it."""
    return "x" + hashlib.sha256(str(prompt).encode()).hexdigest()[:8]


class Unhearable(Exception):
    """The clip cannot be heard, whoever tries."""

    code = "unhearable"
    retryable = False


class HashEngine:
    """Answer every prompt with the hash of the samples, after a pause that a seed decides.

    ``cannot_hear`` says of which clips it raises ``Unhearable``.
    """

    revision = "chaos-1"
    clip_samples = None

    def __init__(
        self,
        seed: int,
        places: int,
        longest_seconds: float,
        cannot_hear: Callable[[bytes], bool] = lambda clip: False,
    ) -> None:
        self._seed, self._longest, self._cannot_hear = seed, longest_seconds, cannot_hear
        self._pool = ThreadPoolExecutor(places)

    def open(self, samples: NDArray[np.int16]) -> HashPrefix:
        """Take a clip."""
        clip = samples.astype("<i2").tobytes()
        return HashPrefix(self._pool, clip, self._seed, self._longest, self._cannot_hear)

    def open_parts(self, parts: Sequence[Prompt | NDArray[np.int16]]) -> HashPrefix:
        """Take a conversation as one clip: all that is heard in it, one after another."""
        heard = [part for part in parts if isinstance(part, np.ndarray)]
        return self.open(np.concatenate([np.zeros(0, np.int16), *heard]))


class HashPrefix:
    """One clip."""

    def __init__(
        self,
        pool: ThreadPoolExecutor,
        pcm: bytes,
        seed: int,
        longest_seconds: float,
        cannot_hear: Callable[[bytes], bool],
    ) -> None:
        self._pool, self._pcm, self._seed, self._longest = pool, pcm, seed, longest_seconds
        self._cannot_hear = cannot_hear

    def branch(
        self,
        prompt: Prompt,
        limit: int,
        stop: Sequence[Tag] = (),
        deadline: float | None = None,
        score: Sequence[Tag | TimeTag | str] | None = None,
    ) -> Future[Answer]:
        """Answer soon."""
        text = said_of(self._pcm, prompt)
        pause = random.Random(f"{self._seed}/{text}").uniform(0.2, 1.0) * self._longest

        def answer() -> Answer:
            time.sleep(pause)
            if self._cannot_hear(self._pcm):
                raise Unhearable("the samples say that they cannot be heard")
            return Answer(text, (1,), (-0.1,), FinishReason.STOP)

        return self._pool.submit(answer)

    def close(self) -> None:
        """Let go."""
