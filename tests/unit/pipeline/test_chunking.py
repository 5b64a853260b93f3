"""Cut timelines into chunks: nothing lost, nothing doubled, always advancing, and in the pauses."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.chunking import (
    MIN_CUT_SAMPLES,
    MIN_TAIL_SAMPLES,
    OVERLAP_SAMPLES,
    PAUSE_WINDOWS,
    ChunkSpan,
    plan_chunks,
)
from pipeline.speech_spans import WINDOW_SAMPLES, SpanOptions, window_count
from pipeline.timeline import MAX_HEARD_SAMPLES, SAMPLING_RATE


def likelihoods(total_samples: int, seed: int, quiet: float) -> np.ndarray:
    """Speech in blocks of about a second, ``quiet`` of them silent."""
    generator = np.random.default_rng(seed)
    count = window_count(total_samples)
    blocks = np.repeat(generator.random(count // 30 + 1) > quiet, 30)[:count]
    return np.clip(blocks + generator.normal(0, 0.1, count), 0, 1).astype(np.float32)


recordings = st.tuples(st.integers(1, 400 * SAMPLING_RATE), st.integers(0, 1_000), st.floats(0, 1))


@settings(deadline=None)
@given(recordings)
@example((1, 0, 0.0))
@example((MAX_HEARD_SAMPLES, 0, 0.0))
@example((MAX_HEARD_SAMPLES + 1, 0, 0.0))
@example((MAX_HEARD_SAMPLES + 511, 0, 1.0))
def test_chunks_tile_the_timeline(recording):
    total_samples, seed, quiet = recording
    chunks = plan_chunks(total_samples, likelihoods(total_samples, seed, quiet))
    assert chunks[0].owned_start == 0
    assert chunks[-1].owned_end == total_samples
    assert all(before.owned_end == after.owned_start for before, after in pairwise(chunks))
    assert [chunk.index for chunk in chunks] == list(range(len(chunks)))


@settings(deadline=None)
@given(recordings)
@example((MAX_HEARD_SAMPLES + 1, 0, 0.0))
def test_chunks_are_neither_longer_than_can_be_heard_nor_needlessly_short(recording):
    total_samples, seed, quiet = recording
    chunks = plan_chunks(total_samples, likelihoods(total_samples, seed, quiet))
    for chunk in chunks:
        assert (
            0 <= chunk.heard_start <= chunk.owned_start < chunk.owned_end <= chunk.heard_end <= total_samples
        )
        assert chunk.heard_end - chunk.heard_start <= MAX_HEARD_SAMPLES
    assert all(chunk.owned_end - chunk.owned_start >= MIN_CUT_SAMPLES for chunk in chunks[:-1])
    assert chunks[-1].owned_end - chunks[-1].owned_start >= min(MIN_TAIL_SAMPLES, total_samples)


@settings(deadline=None)
@given(recordings)
def test_speech_lies_inside_its_chunk_and_none_is_lost(recording):
    total_samples, seed, quiet = recording
    probabilities = likelihoods(total_samples, seed, quiet)
    chunks = plan_chunks(total_samples, probabilities)
    for chunk in chunks:
        places = [chunk.owned_start, *(place for span in chunk.speech for place in span), chunk.owned_end]
        assert places == sorted(places)
    speech = np.zeros(total_samples, bool)
    for chunk in chunks:
        for start, end in chunk.speech:
            speech[start:end] = True
    assert sum(chunk.speech_samples for chunk in chunks) == speech.sum()


@settings(deadline=None)
@given(recordings)
@example((90 * SAMPLING_RATE, 0, 0.0))
@example((90 * SAMPLING_RATE, 0, 1.0))
def test_neighbours_both_hear_a_second_more_where_speech_runs_through_their_cut_and_nowhere_else(recording):
    total_samples, seed, quiet = recording
    probabilities = likelihoods(total_samples, seed, quiet)
    chunks = plan_chunks(total_samples, probabilities)
    assert (chunks[0].heard_start, chunks[-1].heard_end) == (0, total_samples)
    for before, after in pairwise(chunks):
        cut = before.owned_end // WINDOW_SAMPLES
        around = probabilities[cut - PAUSE_WINDOWS // 2 : cut + PAUSE_WINDOWS // 2]
        overlap = OVERLAP_SAMPLES if around.max() >= SpanOptions().low_threshold else 0
        assert before.heard_end - before.owned_end == overlap
        assert after.owned_start - after.heard_start == overlap


@settings(deadline=None)
@given(recordings, st.integers(1, 2 * OVERLAP_SAMPLES), st.integers(0, 1_000))
def test_a_word_is_wholly_heard_by_the_chunk_that_owns_its_middle(recording, length, place):
    """Wherever it is said, as long as it is no longer than two seconds: words lie in speech, cuts do not or overlap."""
    total_samples, seed, _ = recording
    length = min(length, total_samples)
    start = (total_samples - length) * place // 1_000
    probabilities = likelihoods(total_samples, seed, 0.7)
    probabilities[start // WINDOW_SAMPLES : -(-(start + length) // WINDOW_SAMPLES)] = 0.9
    chunks = plan_chunks(total_samples, probabilities)
    (owner,) = (chunk for chunk in chunks if chunk.owned_start <= start + length // 2 < chunk.owned_end)
    assert owner.heard_start <= start
    assert start + length <= owner.heard_end


def test_endless_speech_is_cut_into_chunks_that_are_heard_for_thirty_seconds():
    chunks = plan_chunks(100 * SAMPLING_RATE, np.ones(window_count(100 * SAMPLING_RATE), np.float32))
    heard = [chunk.heard_end - chunk.heard_start for chunk in chunks[:-1]]
    assert all(MAX_HEARD_SAMPLES - WINDOW_SAMPLES < samples <= MAX_HEARD_SAMPLES for samples in heard)
    assert [chunk.owned_end - chunk.owned_start for chunk in chunks[1:3]] == [
        (MAX_HEARD_SAMPLES - 2 * OVERLAP_SAMPLES) // WINDOW_SAMPLES * WINDOW_SAMPLES
    ] * 2


def test_what_two_chunks_hear_is_speech_of_the_one_that_owns_it():
    chunks = plan_chunks(60 * SAMPLING_RATE, np.ones(window_count(60 * SAMPLING_RATE), np.float32))
    assert [chunk.speech for chunk in chunks] == [((chunk.owned_start, chunk.owned_end),) for chunk in chunks]


@settings(deadline=None)
@given(recordings)
def test_the_same_recording_is_always_cut_the_same(recording):
    total_samples, seed, quiet = recording
    probabilities = likelihoods(total_samples, seed, quiet)
    kept = probabilities.copy()
    assert plan_chunks(total_samples, probabilities) == plan_chunks(total_samples, probabilities)
    assert np.array_equal(probabilities, kept)


@settings(deadline=None)
@given(st.integers(0, 1_000))
def test_a_cut_falls_into_the_pause_when_there_is_one(seed):
    generator = np.random.default_rng(seed)
    total_samples = 45 * SAMPLING_RATE
    probabilities = np.full(window_count(total_samples), 0.95, np.float32)
    # A pause of half a second somewhere in the reach of the first cut, with a tail that is long enough behind it.
    pause = int(generator.integers(15 * SAMPLING_RATE, 29 * SAMPLING_RATE)) // WINDOW_SAMPLES + 1
    probabilities[pause : pause + 16] = 0.02
    cut = plan_chunks(total_samples, probabilities)[0].owned_end // WINDOW_SAMPLES
    assert pause < cut < pause + 16


def test_of_two_pauses_the_deeper_one_is_taken_and_of_equal_ones_the_later():
    total_samples = 45 * SAMPLING_RATE
    probabilities = np.full(window_count(total_samples), 0.9, np.float32)
    early, late = slice(530, 550), slice(860, 880)
    probabilities[early], probabilities[late] = 0.05, 0.6
    assert 530 < plan_chunks(total_samples, probabilities)[0].owned_end // WINDOW_SAMPLES < 550
    probabilities[late] = 0.05
    assert 860 < plan_chunks(total_samples, probabilities)[0].owned_end // WINDOW_SAMPLES < 880


def test_a_slightly_deeper_pause_is_not_worth_a_far_shorter_chunk():
    probabilities = np.full(window_count(45 * SAMPLING_RATE), 0.9, np.float32)
    probabilities[530:550], probabilities[860:880] = 0.02, 0.03
    assert 860 < plan_chunks(45 * SAMPLING_RATE, probabilities)[0].owned_end // WINDOW_SAMPLES < 880


def test_what_can_be_heard_at_once_is_one_chunk():
    (chunk,) = plan_chunks(MAX_HEARD_SAMPLES, np.ones(window_count(MAX_HEARD_SAMPLES), np.float32))
    assert (chunk.heard_start, chunk.heard_end) == (0, MAX_HEARD_SAMPLES)


def test_silence_is_cut_into_chunks_as_long_as_can_be():
    chunks = plan_chunks(100 * SAMPLING_RATE, np.zeros(window_count(100 * SAMPLING_RATE), np.float32))
    lengths = [chunk.owned_end - chunk.owned_start for chunk in chunks]
    assert lengths[:3] == [MAX_HEARD_SAMPLES // WINDOW_SAMPLES * WINDOW_SAMPLES] * 3
    assert [chunk.speech_samples for chunk in chunks] == [0, 0, 0, 0]


def test_an_empty_timeline_has_no_chunks():
    assert plan_chunks(0, np.zeros(0, np.float32)) == []


def test_the_wrong_number_of_probabilities_is_refused():
    with pytest.raises(ValueError, match="have 2 windows, not 1"):
        plan_chunks(513, np.zeros(1, np.float32))


def test_a_chunk_refuses_spans_that_make_no_sense():
    for spans in ((0, 0, 0, 0), (5, 9, 6, 9), (0, 9, 0, 8), (0, 9, 0, MAX_HEARD_SAMPLES + 1)):
        with pytest.raises(ValueError, match="span|at most"):  # noqa: RUF043 - an alternative is meant
            ChunkSpan(0, *spans, speech=())


def test_a_hundred_hours_are_planned_in_seconds():
    total_samples = 100 * 3_600 * SAMPLING_RATE
    probabilities = likelihoods(total_samples, 0, 0.3)
    began = time.process_time()
    chunks = plan_chunks(total_samples, probabilities)
    assert time.process_time() - began < 10
    assert chunks[-1].owned_end == total_samples
    assert len(chunks) < 24_000
