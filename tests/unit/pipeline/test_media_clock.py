"""Gaps: a frame that is late has silence before it, as far as its stamp can be believed."""

from __future__ import annotations

import pytest

from pipeline.errors import InvalidSampleRate
from pipeline.media_clock import Clock

SECOND = 16_000


def gaps(clock: Clock, *stamps: float | None) -> list[int]:
    """Return the silence before frames of a second each."""
    return [clock.silence_before(stamp, 8_000, 8_000) for stamp in stamps]


def test_a_late_frame_has_silence_before_it_and_what_follows_it_has_none() -> None:
    assert gaps(Clock(0.0, None), 0.0, 1.0, 5.0, 6.0) == [0, 0, 3 * SECOND, 0]
    assert gaps(Clock(10.0, None), 10.0, 11.5, 12.5) == [0, SECOND // 2, 0]


def test_small_delays_are_no_gap_until_they_add_up_to_one() -> None:
    assert gaps(Clock(0.0, None), 0.06, 1.09, 2.125) == [0, 0, SECOND // 8]


def test_frames_that_come_early_or_without_a_stamp_follow_at_once() -> None:
    assert gaps(Clock(0.0, None), 0.0, 0.2, None, 3.0, 4.5) == [0, 0, 0, 0, SECOND // 2]
    assert gaps(Clock(None, None), 7.0, 99.0) == [0, 0]


def test_a_wild_stamp_is_not_believed() -> None:
    assert gaps(Clock(0.0, 6.0), 0.0, 9.0, 5.0) == [0, 0, 3 * SECOND]
    assert gaps(Clock(0.0, None), 0.0, 4_000.0, 3_000.0) == [0, 0, 2_998 * SECOND]
    assert gaps(Clock(0.0, 0.0), 0.0, 2.0) == [0, SECOND]


def test_a_rate_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidSampleRate):
        Clock(0.0, None).silence_before(0.0, 1, 0)
