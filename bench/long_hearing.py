"""Hear a long recording as the service does, without its queue: plan, hear every chunk, stitch."""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.longform_recordings import Recording
from db.understanding import UnderstandWork
from pipeline.chunking import ChunkSpan, plan_chunks
from pipeline.decode import BLOCK_SAMPLES
from pipeline.hearing import Hearings
from pipeline.speech import SpeechStream, load_speech_model
from pipeline.speech_spans import Probabilities
from pipeline.stitching import stitch
from pipeline.tasks import get_task
from pipeline.tasks.findings import Findings, Part, Segment, Word
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.questions import HeardChunk
from pipeline.timeline import Samples
from workers.hearing import ChunkTalk, Engine
from workers.plan import task_applies
from workers.understand import PASS_SECONDS, heard_chunk


@dataclass(frozen=True)
class Asked:
    """One request: a task with its options."""

    task: str
    options: Mapping[str, Any]


Requests = Mapping[str, Asked]  # by name


@dataclass(frozen=True)
class Heard:
    """What a recording's requests yielded: the parts of each and the findings made of them."""

    parts: Mapping[str, Sequence[Part]]
    findings: Mapping[str, Findings]
    seconds: float  # of wall time, hearing and stitching


def speech_map(samples: Samples) -> Probabilities:
    """Return how likely speech is, window by window, in the blocks that ingest uses."""
    stream = SpeechStream(load_speech_model())
    blocks = range(0, len(samples), BLOCK_SAMPLES)
    found = [stream.push(samples[start : start + BLOCK_SAMPLES]) for start in blocks]
    return np.concatenate([*found, stream.finish()])


def plan(recording: Recording) -> list[ChunkSpan]:
    """Return the recording's chunks, as the service cuts them."""
    return plan_chunks(len(recording.samples), speech_map(recording.samples))


def hear(
    engine: Engine,
    recording: Recording,
    chunks: Sequence[ChunkSpan],
    requests: Requests,
    at_once: int = 1,
) -> Heard:
    """Hear every chunk with all requests in one pass, ``at_once`` chunks at a time, and stitch."""
    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as passes:
        heard = list(passes.map(lambda chunk: _pass(engine, recording.samples, chunk, requests), chunks))
    parts = {
        name: [_part(chunk, parsed.get(name)) for chunk, parsed in zip(chunks, heard, strict=True)]
        for name in requests
    }
    findings = {name: stitch(asked.task, asked.options, parts[name]) for name, asked in requests.items()}
    return Heard(parts, findings, time.monotonic() - began)


def said(segments: Sequence[Segment]) -> list[str]:
    """Return the words of a transcript in order, with or without times."""
    return [
        word
        for one in segments
        for word in ([word.text for word in one.words] if one.words else one.text.split())
    ]


def cut_at_gaps(chunks: Sequence[ChunkSpan], words: Sequence[Word]) -> list[ChunkSpan]:
    """Move every cut that runs through speech to the nearest edge of a true word; nothing is heard twice then."""
    edges = sorted({edge for word in words for edge in (word.start_sample, word.end_sample)})
    moved: list[ChunkSpan] = []
    start = chunks[0].owned_start
    for chunk in chunks:
        overlaps = chunk.heard_end > chunk.owned_end
        end = _nearest(edges, chunk.owned_end) if overlaps else chunk.owned_end
        speech = tuple((max(begin, start), min(stop, end)) for begin, stop in _reaching(chunk, start, end))
        moved.append(ChunkSpan(chunk.index, start, end, start, end, speech))
        start = end
    return moved


def _pass(engine: Engine, samples: Samples, chunk: ChunkSpan, requests: Requests) -> dict[str, Parsed]:
    """Hear one chunk, as ``workers.understand`` does; requests that have nothing to hear there are left out."""
    known = _known(chunk, engine.clip_samples)
    hearings = Hearings(
        {
            name: get_task(asked.task).hear(known, _options(asked))
            for name, asked in requests.items()
            if task_applies(asked.task, asked.options, chunk.speech_samples)
        }
    )
    clip = samples[chunk.heard_start : chunk.heard_end]
    ChunkTalk(engine, clip, time.monotonic() + PASS_SECONDS, check=lambda: None).run(hearings)
    return hearings.parsed


def _known(chunk: ChunkSpan, clip_samples: int | None) -> HeardChunk:
    spans = chunk.owned_start, chunk.owned_end, chunk.heard_start, chunk.heard_end
    return heard_chunk(UnderstandWork("", 1, 0, *spans, chunk.speech, ()), clip_samples)


def _options(asked: Asked) -> Any:
    return get_task(asked.task).Options.model_validate(dict(asked.options))


def _part(chunk: ChunkSpan, parsed: Parsed | None) -> Part:
    spans = chunk.owned_start, chunk.owned_end, chunk.heard_start, chunk.heard_end
    return Part(0, chunk.index, *spans, chunk.speech, parsed)


def _nearest(edges: Sequence[int], place: int) -> int:
    right = bisect_right(edges, place)
    return min(edges[max(right - 1, 0) : right + 1], key=lambda edge: abs(edge - place))


def _reaching(chunk: ChunkSpan, start: int, end: int) -> list[tuple[int, int]]:
    """Return the chunk's speech, drawn out to edges that moved away from it."""
    spans = [list(span) for span in chunk.speech if span[0] < end and span[1] > start]
    if spans and spans[0][0] == chunk.owned_start:
        spans[0][0] = start
    if spans and spans[-1][1] == chunk.owned_end:
        spans[-1][1] = end
    return [(begin, stop) for begin, stop in spans]
