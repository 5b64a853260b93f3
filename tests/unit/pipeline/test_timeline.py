"""Count in samples, and find them in bytes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.timeline import Timeline, byte_range, channel_samples, to_float, to_ms, to_samples


@given(st.integers(0, 10**12))
def test_a_millisecond_begins_with_its_first_sample(ms):
    assert to_ms(to_samples(ms)) == ms
    assert to_ms(to_samples(ms + 1) - 1) == ms


@given(st.integers(1, 2), st.lists(st.integers(-32_768, 32_767), max_size=40), st.data())
def test_a_byte_range_holds_exactly_the_asked_samples(channel_count, values, data):
    frames = np.array(values[: len(values) // channel_count * channel_count], "<i2").reshape(
        -1, channel_count
    )
    start = data.draw(st.integers(0, len(frames)))
    end = data.draw(st.integers(start, len(frames)))
    first, last = byte_range(start, end, channel_count)
    for channel in range(channel_count):
        cut = channel_samples(frames.tobytes()[first:last], channel, channel_count)
        assert cut.tolist() == frames[start:end, channel].tolist()


def test_floats_are_below_one():
    assert to_float(np.array([-32_768, 0, 32_767], np.int16)).tolist() == [-1.0, 0.0, 32_767 / 32_768]


def test_a_timeline_knows_its_size_and_duration():
    timeline = Timeline(samples=24_007, channel_count=2, sha256="")
    assert (timeline.size_bytes, timeline.duration_ms) == (96_028, 1_500)
