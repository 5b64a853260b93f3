"""Turn probabilities into spans: equal to Silero's own walk, window by window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pipeline.speech_spans
from pipeline.speech_spans import WINDOW_SAMPLES, SpanOptions, speech_spans


def spans_of(*windows, total=None, **options):
    probabilities = np.array(windows, np.float32)
    return speech_spans(probabilities, total or len(windows) * WINDOW_SAMPLES, SpanOptions(**options))


NO_EDGES = {"min_speech_samples": 1, "min_silence_samples": 1, "padding_samples": 0}


def test_speech_begins_above_one_threshold_and_ends_below_another():
    assert spans_of(0.1, 0.4, 0.6, 0.4, 0.36, 0.34, 0.4, 0.1, **NO_EDGES) == [(2 * 512, 5 * 512)]


def test_speech_that_reaches_the_end_stops_with_the_timeline():
    assert spans_of(0.1, 0.9, 0.9, total=1_200, **NO_EDGES) == [(512, 1_200)]
    assert spans_of(0.9, **NO_EDGES) == [(0, 512)]


@pytest.mark.parametrize("block", [1, 2, 7, 1_000])
def test_a_long_recording_is_walked_in_blocks_that_cannot_be_told(monkeypatch, block):
    probabilities = np.random.default_rng(1).random(500).astype(np.float32)
    whole = speech_spans(probabilities, 500 * WINDOW_SAMPLES, SpanOptions(**NO_EDGES))
    monkeypatch.setattr(pipeline.speech_spans, "_BLOCK_WINDOWS", block)
    assert speech_spans(probabilities, 500 * WINDOW_SAMPLES, SpanOptions(**NO_EDGES)) == whole


def test_silence_and_nothing_have_no_speech():
    assert spans_of(0.1, 0.2, 0.3) == []
    assert speech_spans(np.zeros(0, np.float32), 0) == []


def test_short_pauses_are_bridged_and_short_sounds_are_dropped():
    speech, pause = [0.9] * 8, [0.1] * 3
    assert spans_of(*speech, *pause, *speech, padding_samples=0) == [(0, 19 * 512)]
    assert spans_of(*speech, *pause, 0.1, *speech, padding_samples=0) == [(0, 8 * 512), (12 * 512, 20 * 512)]
    assert spans_of(0.1, *[0.9] * 7, 0.1, padding_samples=0) == []


def test_padding_stays_inside_the_timeline_and_shares_the_pause():
    speech, pause = [0.9] * 8, [0.1] * 4
    assert spans_of(*speech, *pause, *speech) == [(0, 8 * 512 + 480), (12 * 512 - 480, 20 * 512)]
    assert spans_of(*speech, *pause, *speech, padding_samples=9_999) == [(0, 10 * 512), (10 * 512, 20 * 512)]


def plainly(probabilities, total_samples, options):
    """The same rules, one window after the other."""
    spans, start = [], None
    for place, probability in enumerate([*probabilities, -1.0]):
        if start is None and probability >= options.threshold:
            start = place
        elif start is not None and probability < options.low_threshold:
            spans.append([start * 512, min(place * 512, total_samples)])
            start = None
    bridged = []
    for span in spans:
        if bridged and span[0] - bridged[-1][1] < options.min_silence_samples:
            bridged[-1][1] = span[1]
        else:
            bridged.append(span)
    return [tuple(span) for span in bridged if span[1] - span[0] >= options.min_speech_samples]


@given(st.lists(st.floats(0, 1, width=32), max_size=200), st.integers(1, 512))
def test_spans_equal_a_plain_walk(values, last_samples):
    options = SpanOptions(min_speech_samples=1_500, min_silence_samples=1_100, padding_samples=0)
    total = max(len(values) - 1, 0) * 512 + (last_samples if values else 0)
    probabilities = np.array(values, np.float32)
    assert speech_spans(probabilities, total, options) == plainly(probabilities, total, options)


def test_thresholds_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="thresholds"):
        SpanOptions(threshold=0.3, low_threshold=0.4)
