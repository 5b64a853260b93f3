"""Measure what a checkpoint makes of long recordings: at seams, in silence, with many tasks, and how fast."""

from __future__ import annotations

import math
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from bench.long_hearing import Asked, Heard, Requests, cut_at_gaps, hear, plan, said
from bench.longform_figures import WITH_TIMES, WORDS, Chunks, Figures, cuts_in_speech
from bench.longform_recordings import Recording, repeat
from bench.word_errors import align, near_cuts
from pipeline.chunking import ChunkSpan
from pipeline.tasks import TASKS
from qwen_audio.engine import Engine

AT_ONCE = 8  # chunks, as a worker holds them
PLACES = 2 * AT_ONCE  # as many again for windows of chunks
SCORE_TOLERANCE = (
    1e-3  # between scores that the same words got in another batch: float32 adds up in another order
)
TRANSCRIPT: Requests = {"transcribe": Asked("transcribe", {})}
FIVE_TASKS: Requests = {
    name: Asked(name, {}) for name in ("transcribe", "language", "caption", "scene", "emotion")
}
ALL_TASKS: Requests = {
    # Into another language than the spoken one: else there is nothing to translate.
    name: Asked(name, {"target": "de"} if name == "translate" else task.example)
    for name, task in TASKS.items()
}


def measure_model(
    folder: Path, recordings: Mapping[str, Recording], hours: float = 0.0, threads: int = 2
) -> Figures:
    """Return every figure of a checkpoint on the CPU; with ``hours`` all tasks hear one as long as that, too."""
    disable_progress_bar()
    torch.set_num_threads(threads)
    chunks = {name: plan(recording) for name, recording in recordings.items()}
    with Engine.load(folder, device="cpu", places=PLACES) as engine:
        figures = _seams(engine, recordings, chunks)
        figures["invented_words"] = _invented(engine, recordings, chunks)
        figures |= _company(engine, recordings["sounds between"], chunks["sounds between"])
        if hours:
            figures |= _long(engine, repeat(recordings, 3_600 * hours))
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
    return figures


def _seams(engine: Engine, recordings: Mapping[str, Recording], chunks: Chunks) -> Figures:
    """Count word errors as the service cuts and, beside them, where every cut in speech lies between two words."""
    words, extra, wrong, wrong_at_gaps = 0, 0, 0, 0
    for name, recording in recordings.items():
        if not recording.words:
            continue
        near = near_cuts(recording.words, cuts_in_speech(chunks[name]))
        errors = _errors(engine, recording, chunks[name])
        at_gaps = _errors(engine, recording, cut_at_gaps(chunks[name], recording.words))
        words += len(recording.words)
        extra += sum(place in near for place in errors) - sum(place in near for place in at_gaps)
        wrong += len(errors)
        wrong_at_gaps += len(at_gaps)
        _tell(f"seams of {name!r}: {len(errors)} word errors, {len(at_gaps)} when cut at true gaps")
    return {
        "seam_errors_pct": 100 * extra / words,
        "wer": 100 * wrong / words,
        "wer_at_gaps": 100 * wrong_at_gaps / words,
    }


def _errors(engine: Engine, recording: Recording, chunks: Sequence[ChunkSpan]) -> Sequence[int]:
    """Return the places of the true words that are heard wrong."""
    heard = hear(engine, recording, chunks, WITH_TIMES, AT_ONCE)
    true = [word.text for word in recording.words]
    return align(true, said(heard.findings[WORDS].segments)).errors


def _invented(engine: Engine, recordings: Mapping[str, Recording], chunks: Chunks) -> int:
    """Count the words that are transcribed where nobody speaks."""
    found = 0
    for name, recording in recordings.items():
        if not recording.words:
            heard = hear(engine, recording, chunks[name], TRANSCRIPT, AT_ONCE)
            found += len(said(heard.findings["transcribe"].segments))
    _tell(f"invented: {found} words")
    return found


def _company(engine: Engine, recording: Recording, chunks: Sequence[ChunkSpan]) -> Figures:
    """Hear a recording with all tasks at once and with each alone, and compare what they found."""
    together = _hear_all(engine, recording, chunks, ALL_TASKS)
    alone = {name: _hear_all(engine, recording, chunks, {name: asked}) for name, asked in ALL_TASKS.items()}
    differ = [
        name
        for name in ALL_TASKS
        if not agree(asdict(alone[name].findings[name]), asdict(together.findings[name]))
    ]
    _tell(f"tasks that differ in company: {', '.join(differ) or 'none'}")
    five = _hear_all(engine, recording, chunks, FIVE_TASKS)
    return {
        "tasks_that_differ": len(differ),
        "rtfx_transcribe": recording.seconds / alone["transcribe"].seconds,
        "rtfx_five_tasks": recording.seconds / five.seconds,
        "rtfx_all_tasks": recording.seconds / together.seconds,
    }


def agree(one: Any, other: Any) -> bool:
    """Say whether two findings, as plain data, are the same but for the rounding of their scores."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, abs_tol=SCORE_TOLERANCE)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(agree, one, other))
    return bool(one == other)


def _long(engine: Engine, recording: Recording) -> Figures:
    """Hear a recording of hours with all tasks."""
    began = time.monotonic()
    chunks = plan(recording)
    _tell(
        f"planned {recording.seconds / 3_600:.2f} h in {time.monotonic() - began:.0f} s: {len(chunks)} chunks"
    )
    heard = _hear_all(engine, recording, chunks, ALL_TASKS)
    return {"hours": recording.seconds / 3_600, "rtfx_all_tasks": recording.seconds / heard.seconds}


def _hear_all(engine: Engine, recording: Recording, chunks: Sequence[ChunkSpan], requests: Requests) -> Heard:
    heard = hear(engine, recording, chunks, requests, AT_ONCE)
    names = ", ".join(requests)
    _tell(
        f"{recording.name!r} with {names}: {heard.seconds:.0f} s, RTFx {recording.seconds / heard.seconds:.1f}"
    )
    return heard


def _tell(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
