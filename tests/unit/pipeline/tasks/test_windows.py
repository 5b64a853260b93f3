"""Windows: utterances by the speech map, inside what a chunk owns, apart, and never too short to be heard."""

from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.tasks.findings import Span
from pipeline.tasks.questions import MIN_HEARD_SAMPLES, HeardChunk
from pipeline.tasks.windows import MAX_WINDOW_SAMPLES, PADDING_SAMPLES, halves, speech_windows

SECOND = 16_000


def test_speech_is_cut_at_pauses_and_padded_into_them() -> None:
    chunk = HeardChunk(100_000, ((10_000, 20_000), (25_000, 30_000), (50_000, 60_000)))
    assert speech_windows(chunk) == [(8_400, 31_600), (48_400, 61_600)]


def test_a_window_never_reaches_beyond_the_chunk() -> None:
    assert speech_windows(HeardChunk(20_000, ((100, 19_900),))) == [(0, 20_000)]


def test_speech_without_a_long_pause_is_cut_in_a_short_one_before_it_grows_too_long() -> None:
    speech = tuple((second * SECOND, second * SECOND + 15_000) for second in range(30))
    windows = speech_windows(HeardChunk(480_000, speech))
    assert [end - start for start, end in windows] == pytest.approx([15 * SECOND] * 2, abs=2_000)
    assert windows[0][1] == windows[1][0] == 239_500  # in the middle of the pause


def test_where_nobody_looked_for_speech_all_of_it_is_one_window_and_where_none_was_found_there_is_none() -> (
    None
):
    assert speech_windows(HeardChunk(16_000)) == [(0, 16_000)]
    assert speech_windows(HeardChunk(16_000, owned=(1_000, 15_000))) == [(1_000, 15_000)]
    assert speech_windows(HeardChunk(16_000, ())) == []
    assert speech_windows(HeardChunk(MIN_HEARD_SAMPLES - 1)) == []


def test_an_utterance_that_runs_through_a_seam_is_cut_there_and_said_by_both() -> None:
    left = HeardChunk(116_000, ((60_000, 116_000),), owned=(0, 100_000))
    right = HeardChunk(116_000, ((0, 56_000),), owned=(16_000, 116_000))
    assert speech_windows(left) == [(58_400, 100_000)]
    assert speech_windows(right) == [(16_000, 57_600)]


def test_speech_that_only_a_neighbour_owns_is_left_to_it() -> None:
    chunk = HeardChunk(116_000, ((10_000, 20_000), (110_000, 116_000)), owned=(0, 100_000))
    assert speech_windows(chunk) == [(8_400, 21_600)]


def test_a_window_that_is_the_whole_chunk_is_named_as_questions_about_the_chunk_are() -> None:
    chunk = HeardChunk(16_000)
    assert (chunk.window((0, 16_000)), chunk.window((0, 8_000))) == (None, (0, 8_000))
    assert (chunk.seconds_of(None), chunk.seconds_of((0, 8_000))) == (1.0, 0.5)


@st.composite
def chunks(draw: st.DrawFn) -> HeardChunk:
    """A chunk with speech here and there, which owns all of it or a part."""
    steps = draw(st.lists(st.tuples(st.integers(1, 30_000), st.integers(1, 60_000)), max_size=10))
    edges = [0, *accumulate(length for step in steps for length in step)]
    samples = edges[-1] + draw(st.integers(1, 30_000))
    speech = tuple((edges[i], edges[i + 1]) for i in range(1, len(edges), 2))
    start = draw(st.integers(0, samples // 3))
    end = draw(st.integers(samples - samples // 3, samples))
    return HeardChunk(samples, speech, draw(st.sampled_from([None, (start, max(end, start + 1))])))


def is_inside(small: Span, large: Span) -> bool:
    return large[0] <= small[0] < small[1] <= large[1]


@settings(deadline=None)  # a busy machine is not a defect
@given(chunks())
def test_windows_hold_all_owned_speech_once_and_little_else(chunk: HeardChunk) -> None:
    windows = speech_windows(chunk)
    assert all(before[1] <= after[0] for before, after in pairwise(windows))
    assert all(is_inside(window, chunk.own) for window in windows)
    assert all(end - start >= MIN_HEARD_SAMPLES for start, end in windows)
    assert chunk.speech is not None
    for start, end in chunk.speech:
        owned = max(start, chunk.own[0]), min(end, chunk.own[1])
        if owned[1] - owned[0] >= MIN_HEARD_SAMPLES:
            assert sum(is_inside(owned, window) for window in windows) == 1
    for start, end in windows:
        inside = [span for span in chunk.speech if span[0] < end and span[1] > start]
        assert inside
        assert start >= inside[0][0] - PADDING_SAMPLES
        assert end <= inside[-1][1] + PADDING_SAMPLES
        joined = min(inside[-1][1], chunk.own[1]) - max(inside[0][0], chunk.own[0])
        assert len(inside) == 1 or joined <= MAX_WINDOW_SAMPLES


def test_a_window_is_halved_in_the_pause_nearest_its_middle() -> None:
    chunk = HeardChunk(480_000, ((0, 100_000), (110_000, 200_000), (220_000, 300_000), (330_000, 480_000)))
    assert halves(chunk, (0, 480_000)) == ((0, 210_000), (210_000, 480_000))
    assert halves(chunk, (110_000, 480_000)) == ((110_000, 315_000), (315_000, 480_000))


def test_a_window_without_a_pause_is_halved_in_its_middle() -> None:
    assert halves(HeardChunk(480_000), (80_000, 400_000)) == ((80_000, 240_000), (240_000, 400_000))
    only_at_the_edge = HeardChunk(480_000, ((0, 30_000), (40_000, 480_000)))
    assert halves(only_at_the_edge, (0, 480_000)) == ((0, 240_000), (240_000, 480_000))


def test_what_is_too_short_to_be_heard_in_quarters_is_not_halved() -> None:
    assert halves(HeardChunk(6_399), (0, 6_399)) == ()
    assert len(halves(HeardChunk(6_400), (0, 6_400))) == 2


@settings(deadline=None)  # a busy machine is not a defect
@given(chunks())
def test_halves_tile_their_window_and_can_be_heard(chunk: HeardChunk) -> None:
    cut = halves(chunk, chunk.own)
    if cut:
        (start, middle), (again, end) = cut
        assert (start, middle, end) == (chunk.own[0], again, chunk.own[1])
        assert min(middle - start, end - middle) >= MIN_HEARD_SAMPLES
