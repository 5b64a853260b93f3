"""Hold what tasks take from chunks and what they find: parts in, segments, words and annotations out.

Positions are integer samples of the recording's timeline at 16 kHz; spans are half open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SAMPLES_PER_MS = 16
SAMPLES_PER_SECOND = 16_000

Span = tuple[int, int]


def milliseconds(sample: int) -> int:
    """Return the whole millisecond that a sample of the timeline lies in."""
    return sample // SAMPLES_PER_MS


@dataclass(frozen=True)
class Part:
    """One chunk as a task sees it: where it lies, and what was parsed of it.

    ``owned`` spans tile a channel; ``heard`` contains ``owned`` and may overlap the neighbours. ``speech`` is None
    when nobody looked. ``parsed`` is None when the task did not apply to the chunk or its answer failed. Raises
    ``ValueError`` when the spans are not nested.
    """

    channel: int
    index: int
    owned_start: int
    owned_end: int
    heard_start: int
    heard_end: int
    speech: tuple[Span, ...] | None = None
    parsed: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.heard_start <= self.owned_start < self.owned_end <= self.heard_end:
            raise ValueError(
                f"chunk {self.index} of channel {self.channel} owns {self.owned_start}..{self.owned_end}, which is "
                f"not inside the heard {self.heard_start}..{self.heard_end}"
            )

    def place(self, start: int, end: int) -> Span | None:
        """Return what the part owns of a span that counts from the heard start, None where that is nothing."""
        first = max(self.heard_start + start, self.owned_start)
        last = min(self.heard_start + end, self.owned_end)
        return (first, last) if first < last else None

    @property
    def speech_samples(self) -> int:
        """How much of the owned span is speech; all of it where nobody looked."""
        if self.speech is None:
            return self.owned_end - self.owned_start
        return sum(end - start for start, end in self.speech)

    @property
    def speech_extent(self) -> Span:
        """From the first to the last owned speech sample; the owned span where no speech is known."""
        inside = [
            (max(start, self.owned_start), min(end, self.owned_end))
            for start, end in self.speech or ()
            if start < self.owned_end and end > self.owned_start
        ]
        if not inside:
            return self.owned_start, self.owned_end
        return min(start for start, _ in inside), max(end for _, end in inside)


@dataclass(frozen=True)
class Word:
    """A word and where it was said."""

    text: str
    start_sample: int
    end_sample: int
    confidence: float | None = None  # the model's mean probability of its tokens


@dataclass(frozen=True)
class Segment:
    """An utterance of the transcript. ``index`` counts a request's segments in a recording, over all channels."""

    channel: int
    index: int
    start_sample: int
    end_sample: int
    text: str
    language: str
    words: tuple[Word, ...] = ()
    avg_logprob: float | None = None
    compression_ratio: float | None = None
    no_speech_prob: float | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Annotation:
    """Anything else found on the timeline; ``index`` counts as in ``Segment``.

    ``label`` is for grouping and counting, ``text`` for reading.
    """

    task: str
    channel: int
    index: int
    start_sample: int
    end_sample: int
    label: str | None
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """What one request found, said of the whole recording: ``confidence`` is the share of the votes for ``label``."""

    label: str | None = None
    text: str | None = None
    confidence: float | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Findings:
    """All that one request found in one recording; ``summary`` is None where there is nothing to say."""

    segments: tuple[Segment, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    summary: Summary | None = None
