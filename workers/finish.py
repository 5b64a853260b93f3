"""Finish a recording for a job: stitch what was heard into segments and annotations, and store them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from db.finishing import FinishWork, HeardRequest, NewFindings, complete_finish, load_finish
from db.tables import Chunk, Result
from pipeline.stitching import stitch
from pipeline.tasks.findings import Annotation, Part, Segment, Word, milliseconds
from workers.context import WorkerContext
from workers.doorbell import ring_deliveries
from workers.leases import Lease


def finish(context: WorkerContext, lease: Lease) -> None:
    """Work on a finish pass."""
    with context.database.read() as session:
        work = load_finish(session, lease.claim)
    findings = [find(work, request) for request in work.requests]
    lease.check()
    with context.database.write() as session:
        complete_finish(session, lease.claim, findings)
    ring_deliveries(context.doorbell, session)


def find(work: FinishWork, request: HeardRequest) -> NewFindings:
    """Stitch one request's results; a chunk without a result was skipped or failed."""
    parts = [_part(chunk, request.results.get(chunk.id)) for chunk in work.chunks]
    found = stitch(request.task, request.options, parts)
    return NewFindings(
        request.id,
        segments=[_segment_row(segment) for segment in found.segments],
        annotations=[_annotation_row(annotation) for annotation in found.annotations],
        summary=None if found.summary is None else {"task": request.task, **vars(found.summary)},
        chunks_done=request.chunks_done,
    )


def _part(chunk: Chunk, result: Result | None) -> Part:
    return Part(
        channel=chunk.channel,
        index=chunk.index,
        owned_start=chunk.owned_start,
        owned_end=chunk.owned_end,
        heard_start=chunk.heard_start,
        heard_end=chunk.heard_end,
        speech=tuple((start, end) for start, end in chunk.speech),
        parsed=None if result is None else result.parsed,
    )


def _place(found: Segment | Annotation | Word) -> dict[str, int]:
    return {
        "start_sample": found.start_sample,
        "end_sample": found.end_sample,
        "start_ms": milliseconds(found.start_sample),
        "end_ms": milliseconds(found.end_sample),
    }


def _segment_row(segment: Segment) -> Mapping[str, Any]:
    return {
        **_place(segment),
        "index": segment.index,
        "channel": segment.channel,
        "text": segment.text,
        "language": segment.language,
        "words": [
            {"word": word.text, **_place(word), "confidence": word.confidence} for word in segment.words
        ],
        "avg_logprob": segment.avg_logprob,
        "compression_ratio": segment.compression_ratio,
        "no_speech_prob": segment.no_speech_prob,
        "flags": list(segment.flags),
    }


def _annotation_row(annotation: Annotation) -> Mapping[str, Any]:
    return {
        **_place(annotation),
        "index": annotation.index,
        "channel": annotation.channel,
        "task": annotation.task,
        "label": annotation.label,
        "text": annotation.text,
        "data": annotation.data,
        "flags": list(annotation.flags),
    }
