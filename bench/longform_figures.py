"""Measure what cutting and stitching do to words, with an engine that knows them all."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import median

from bench.long_hearing import Asked, Heard, hear, plan, said
from bench.longform_recordings import Recording
from bench.oracle import Oracle
from bench.word_errors import align, near_cuts
from pipeline.chunking import ChunkSpan
from pipeline.tasks.findings import SAMPLES_PER_MS, Word

JITTER_MS = 60.0
JITTER_SEEDS = 5
WORDS = "words"
WITH_TIMES = {WORDS: Asked("transcribe", {"language": "en"})}
WITHOUT_TIMES = {
    form: Asked("transcribe", {"language": "en", "timestamps": form}) for form in ("segment", "none")
}

Figures = dict[str, float]
Chunks = Mapping[str, Sequence[ChunkSpan]]  # by recording


def measure_oracle(recordings: Mapping[str, Recording]) -> Figures:
    """Return every figure of the oracle, over the recordings in which somebody speaks."""
    spoken = [recording for recording in recordings.values() if recording.words]
    began = time.monotonic()
    chunks = {recording.name: plan(recording) for recording in spoken}
    figures: Figures = {
        "rtfx_plan": sum(one.seconds for one in spoken) / (time.monotonic() - began),
        "words": sum(len(one.words) for one in spoken),
        "cuts": sum(len(one) - 1 for one in chunks.values()),
        "cuts_in_speech": sum(len(cuts_in_speech(one)) for one in chunks.values()),
    }
    return figures | words_at_seams([(one, chunks[one.name]) for one in spoken])


def words_at_seams(planned: Sequence[tuple[Recording, Sequence[ChunkSpan]]]) -> Figures:
    """Count the words that seams lose or double, and how far stitching moves the others."""
    wrong, wrong_without_times, cut_wrong, bare_wrong, jitter_wrong, seam_words = 0, 0, 0, 0, 0, 0
    shifts: list[float] = []
    errors: list[float] = []
    for recording, chunks in planned:
        heard = hear(Oracle(recording), recording, chunks, WITH_TIMES)
        wrong += count_wrong(recording, heard, WORDS)
        seam_words += len(near_cuts(recording.words, cuts_in_speech(chunks)))
        for true, stitched in _seam_words(recording, chunks, heard):
            errors += _edges_apart(true, stitched)
            shifts += min((_edges_apart(one, stitched) for one in _answered(heard, stitched)), key=sum)
        texts = hear(Oracle(recording), recording, chunks, WITHOUT_TIMES)
        wrong_without_times += sum(count_wrong(recording, texts, form) for form in WITHOUT_TIMES)
        strict = Oracle(recording, mishears_parts=True)
        cut_wrong += count_wrong(recording, hear(strict, recording, chunks, WITH_TIMES), WORDS)
        bare = [replace(one, heard_start=one.owned_start, heard_end=one.owned_end) for one in chunks]
        bare_wrong += count_wrong(recording, hear(strict, recording, bare, WITH_TIMES), WORDS)
        for seed in range(JITTER_SEEDS):
            jittery = Oracle(recording, JITTER_MS, seed)
            jitter_wrong += count_wrong(recording, hear(jittery, recording, chunks, WITH_TIMES), WORDS)
    words = sum(len(recording.words) for recording, _ in planned)
    return {
        "oracle_wrong": wrong,
        "cut_wrong": cut_wrong,
        "bare_wrong": bare_wrong,
        "jitter_wrong": jitter_wrong,
        "jitter_words": JITTER_SEEDS * words,
        "seam_words": seam_words,
        "stitch_shift_ms": median(shifts) if shifts else 0.0,
        "stitch_shift_most_ms": max(shifts, default=0.0),
        "seam_time_error_ms": median(errors) if errors else 0.0,
        "no_time_words_pct": 100 * wrong_without_times / (len(WITHOUT_TIMES) * words),
    }


def cuts_in_speech(chunks: Sequence[ChunkSpan]) -> list[int]:
    """Return the cuts that both neighbours hear across."""
    return [chunk.owned_end for chunk in chunks if chunk.heard_end > chunk.owned_end]


def count_wrong(recording: Recording, heard: Heard, name: str) -> int:
    """Count the words that a transcript lost, doubled or got wrong."""
    true = [word.text for word in recording.words]
    return len(align(true, said(heard.findings[name].segments)).errors)


def _seam_words(
    recording: Recording, chunks: Sequence[ChunkSpan], heard: Heard
) -> Iterator[tuple[Word, Word]]:
    """Yield the true words at cuts in speech, each with the stitched one."""
    near = near_cuts(recording.words, cuts_in_speech(chunks))
    stitched = [word for segment in heard.findings[WORDS].segments for word in segment.words]
    pairs = align([word.text for word in recording.words], [word.text for word in stitched]).pairs
    for true, found in pairs:
        if true in near:
            yield recording.words[true], stitched[found]


def _answered(heard: Heard, stitched: Word) -> Iterator[Word]:
    """Yield the words of the same text as the engine timed them, in all chunks that heard the place."""
    for part in heard.parts[WORDS]:
        if part.heard_start <= stitched.start_sample <= part.heard_end and part.parsed is not None:
            for one in part.parsed["words"]:
                if one["text"] == stitched.text:
                    places = (part.heard_start + one[edge] for edge in ("start_sample", "end_sample"))
                    yield Word(one["text"], *places)


def _edges_apart(one: Word, other: Word) -> list[float]:
    edges = ((one.start_sample, other.start_sample), (one.end_sample, other.end_sample))
    return [abs(left - right) / SAMPLES_PER_MS for left, right in edges]
