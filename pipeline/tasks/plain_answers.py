"""Handle answers that are a piece of plain English about a whole chunk."""

from __future__ import annotations

from typing import Any

from pipeline.tasks.findings import Annotation, Part
from pipeline.tasks.task import Flag, Parsed, confidence, ending_flags
from pipeline.tasks.text import has_control_token, has_letters, readable
from qwen_audio.answers import Answer


def parse_plain(answer: Answer) -> Parsed:
    """Return ``text``, ``avg_logprob`` and ``flags`` of an answer that should hold words only."""
    text = readable(answer.text)
    flags = [Flag.STRAY_TAGS] if has_control_token(answer.text) else []
    if not has_letters(text):
        flags.append(Flag.UNPARSED if text or flags else Flag.EMPTY)
    return {
        "text": text,
        "avg_logprob": confidence(answer),
        "flags": [str(flag) for flag in (*flags, *ending_flags(answer))],
    }


def annotate(task: str, part: Part, data: dict[str, Any] | None = None) -> Annotation | None:
    """Return an annotation over the part's owned span, or None when there was no answer or no word in it."""
    if part.parsed is None or not has_letters(part.parsed["text"]):
        return None
    return Annotation(
        task=task,
        channel=part.channel,
        index=0,  # numbered when the recording is stitched
        start_sample=part.owned_start,
        end_sample=part.owned_end,
        label=part.parsed.get("label"),
        text=part.parsed["text"],
        data={"avg_logprob": part.parsed["avg_logprob"], **(data or {})},
        flags=tuple(part.parsed["flags"]),
    )
