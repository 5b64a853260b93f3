"""Find the gaps in a recording: a film whose sound begins late, a call on hold, a browser that recorded nothing."""

from __future__ import annotations

from pipeline.media_limits import check_rate
from pipeline.timeline import SAMPLING_RATE

GAP_SECONDS = 0.1  # what is late by less is padding or rounding
OVER_SECONDS = 1.0  # that the end may lie behind the declared one
UNDECLARED_GAP_SECONDS = 3_600.0  # the longest that is believed where no length is declared


class Clock:
    """Follow when frames say they are heard, beside what was decoded before them.

    ``origin_seconds`` is where the file's clock starts, None for a file that has none. A gap that leads beyond the
    declared length is a wild stamp and not believed; frames that come early follow at once, as all do without a clock.
    """

    def __init__(self, origin_seconds: float | None, declared_seconds: float | None) -> None:
        self._origin_seconds, self._declared_seconds = origin_seconds, declared_seconds
        self._end_seconds = 0.0  # of what was decoded and the gaps between

    def silence_before(self, stamp_seconds: float | None, samples: int, sampling_rate: int) -> int:
        """Return how many samples of the timeline are missing before the next frame; raises ``InvalidSampleRate``."""
        check_rate(sampling_rate)
        gap = 0.0
        if self._origin_seconds is not None and stamp_seconds is not None:
            late = stamp_seconds - self._origin_seconds - self._end_seconds
            gap = late if late >= GAP_SECONDS and self._is_believed(late) else 0.0
        self._end_seconds += gap + samples / sampling_rate
        return round(gap * SAMPLING_RATE)

    def _is_believed(self, gap_seconds: float) -> bool:
        if self._declared_seconds is None or self._declared_seconds <= 0:
            return gap_seconds <= UNDECLARED_GAP_SECONDS
        return self._end_seconds + gap_seconds <= self._declared_seconds + OVER_SECONDS
