"""Make parts of recordings whose transcripts a test has written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from pipeline.tasks.findings import Part, Segment

SECOND = 16_000


def said(
    text: str,
    words: Sequence[tuple[str, float, float]] = (),
    flags: Sequence[str] = (),
    language: str = "en",
    **more: Any,
) -> dict[str, Any]:
    """A parsed transcript; word times in seconds from the heard start."""
    return {
        "language": language,
        "language_probabilities": {},
        "text": text or " ".join(word for word, _, _ in words),
        "words": [word_at(word, int(start * SECOND), int(end * SECOND)) for word, start, end in words],
        "utterances": [],
        "avg_logprob": -0.25,
        "compression_ratio": 0.9,
        "no_speech_prob": 0.01,
        "flags": list(flags),
        **more,
    }


def word_at(text: str, start: int, end: int, confidence: float | None = None) -> dict[str, Any]:
    """A parsed word; times in samples from the heard start."""
    return {"text": text, "start_sample": start, "end_sample": end, "confidence": confidence}


def part(
    start: float,
    end: float,
    parsed: dict[str, Any] | None,
    *,
    overlap: float = 0.0,
    channel: int = 0,
    **facts: Any,
) -> Part:
    """A chunk that owns start..end (seconds) and hears ``overlap`` more on both sides."""
    owned = int(start * SECOND), int(end * SECOND)
    heard = int(max(0.0, start - overlap) * SECOND), int((end + overlap) * SECOND)
    return Part(channel, int(start), *owned, *heard, parsed=parsed, **facts)


def texts(segments: Sequence[Segment]) -> list[str]:
    """What the segments say."""
    return [segment.text for segment in segments]


@st.composite
def recordings(draw: st.DrawFn, jitter: int, misheard: bool = False) -> tuple[list[Part], list[str]]:
    """Speech cut into chunks that overlap, each of which places the words it hears up to ``jitter`` samples off.

    With ``misheard`` each may also hear another word than was said.
    """
    clock, truth = 0, []
    for number in range(draw(st.integers(0, 30))):
        clock += draw(st.integers(0, SECOND))
        length = draw(st.integers(3_200, 12_000))
        text = draw(st.sampled_from(["no", "well", f"w{number}"]))
        truth.append((text, clock, clock + length))
        clock += length
    total = clock + SECOND
    cuts = sorted(draw(st.sets(st.integers(1, total - 1), max_size=6)))
    overlap = draw(st.integers(8_000, 32_000))
    off = st.integers(-jitter, jitter)
    parts = []
    for index, (start, end) in enumerate(zip([0, *cuts], [*cuts, total], strict=True)):
        heard_start, heard_end = max(0, start - overlap), min(total, end + overlap)
        words, floor = [], heard_start
        for text, word_start, word_end in truth:
            if heard_start <= word_start and word_end <= heard_end:
                placed = max(floor, word_start + draw(off))
                floor = max(placed, min(heard_end, word_end + draw(off)))
                if misheard and draw(st.booleans()):
                    text = f"x{len(words)}"
                words.append(word_at(text, placed - heard_start, floor - heard_start, len(truth) / 100))
        parsed = said(" ".join(word["text"] for word in words)) | {"words": words}
        parts.append(Part(0, index, start, end, heard_start, heard_end, parsed=parsed))
    return parts, [text for text, _, _ in truth]
