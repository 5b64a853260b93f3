"""Handle answers that say one thing about a window of a chunk: read them, place them, join neighbours, count votes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from pipeline.tasks.findings import Annotation, Part, Span, Summary
from pipeline.tasks.parsed import DIGITS, Flag, Parsed, confidence, ending_flags
from pipeline.tasks.text import has_control_token, has_letters, readable
from qwen_audio.answers import Answer

AROUND_A_LABEL = " \t\n\"'.,;:!?-。，"
MAX_LABEL_CHARACTERS = 64
SEPARATOR = re.compile("[,，、]")  # of a list in either script


def read_text(answer: Answer, language: str = "en") -> tuple[str, list[Flag]]:
    """Return an answer that should hold words only, and what to know about it."""
    text = readable(answer.text, language)
    flags = [Flag.STRAY_TAGS] if has_control_token(answer.text) else []
    if not has_letters(text):
        flags.append(Flag.UNPARSED if text or flags else Flag.EMPTY)
    return text, [*flags, *ending_flags(answer)]


def as_label(text: str) -> str | None:
    """Return a word or two for grouping: lower case, without marks around it; None where no letter is left."""
    label = text.lower()[:MAX_LABEL_CHARACTERS].strip(AROUND_A_LABEL)
    return label if has_letters(label) else None


def names_in(text: str, most: int) -> list[str]:
    """Return what stands between commas, each name once whatever its case, the first ``most`` of them."""
    names: dict[str, str] = {}
    for name in SEPARATOR.split(text):
        label = as_label(name)
        if label is not None:
            names.setdefault(label, name.strip())
    return list(names.values())[:most]


def item(
    window: Span,
    text: str,
    label: str | None = None,
    *,
    answer: Answer | None = None,
    flags: Iterable[Flag] = (),
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one thing said about a window, (start, end) samples from the heard start, as JSON data."""
    return {
        "start_sample": window[0],
        "end_sample": window[1],
        "text": text,
        "label": label,
        "avg_logprob": None if answer is None else confidence(answer),
        "data": data or {},
        "flags": [str(flag) for flag in flags],
    }


def parsed_items(items: Sequence[dict[str, Any]], flags: Iterable[Flag] = (), /, **more: Any) -> Parsed:
    """Return the parsed data of a chunk: its items, and every flag once."""
    all_flags = [*map(str, flags), *(flag for one in items for flag in one["flags"])]
    return {"items": list(items), **more, "flags": list(dict.fromkeys(all_flags))}


def annotate(task: str, parts: Iterable[Part], data: dict[str, Any] | None = None) -> list[Annotation]:
    """Put every item that says something on the timeline, on what its chunk owns of it."""
    found = []
    for part in parts:
        for one in (part.parsed or {}).get("items", ()):
            place = part.place(one["start_sample"], one["end_sample"])
            is_chosen = one["text"] and one["text"] == one["label"]  # such as "+", where one may say so
            if place is None or not (is_chosen or has_letters(one["text"])):
                continue
            found.append(
                Annotation(
                    task=task,
                    channel=part.channel,
                    index=0,  # numbered when the recording is stitched
                    start_sample=place[0],
                    end_sample=place[1],
                    label=one["label"],
                    text=one["text"],
                    data={"avg_logprob": one["avg_logprob"], **(data or {}), **one["data"]},
                    flags=tuple(one["flags"]),
                )
            )
    return found


def join_equal(found: Sequence[Annotation]) -> list[Annotation]:
    """Join annotations of a channel that say the same and meet: what lasts over chunks is one finding.

    How sure it is (``avg_logprob``, ``probability``, each of the ``choices``) becomes the mean weighted by length; what
    else is in ``data`` is the first one's.
    """
    joined: list[Annotation] = []
    by_place = sorted(found, key=lambda one: (one.channel, one.label or "", one.text, one.start_sample))
    for _, group in groupby(by_place, key=lambda one: (one.channel, one.label, one.text)):
        run: list[Annotation] = []
        for one in group:
            if run and one.start_sample > run[-1].end_sample:
                joined.append(_joined(run))
                run = []
            run.append(one)
        joined.append(_joined(run))
    return sorted(joined, key=lambda one: (one.channel, one.start_sample))


def _joined(run: Sequence[Annotation]) -> Annotation:
    first = run[0]
    if len(run) == 1:
        return first
    return Annotation(
        task=first.task,
        channel=first.channel,
        index=first.index,
        start_sample=first.start_sample,
        end_sample=max(one.end_sample for one in run),
        label=first.label,
        text=first.text,
        data={**first.data, **_sureness(run)},
        flags=tuple(dict.fromkeys(flag for one in run for flag in one.flags)),
    )


def _sureness(run: Sequence[Annotation]) -> dict[str, Any]:
    """Return what the data of a joined finding say of how sure it is."""
    lengths = [one.end_sample - one.start_sample for one in run]
    sure: dict[str, Any] = {"avg_logprob": _mean([one.data.get("avg_logprob") for one in run], lengths)}
    if "probability" in run[0].data:
        sure["probability"] = _share([one.data["probability"] for one in run], lengths)
    if choices := run[0].data.get("choices"):
        sure["choices"] = {
            choice: _share([one.data["choices"][choice] for one in run], lengths) for choice in choices
        }
    return sure


def _mean(values: Sequence[float | None], lengths: Sequence[int]) -> float | None:
    """Return the mean of the values that are known, weighted by length; None where none is."""
    known = [(value, length) for value, length in zip(values, lengths, strict=True) if value is not None]
    weight = sum(length for _, length in known)
    return sum(value * length for value, length in known) / weight if weight else None


def _share(values: Sequence[float], lengths: Sequence[int]) -> float:
    return round(_mean(values, lengths) or 0.0, DIGITS)


def vote(found: Sequence[Annotation]) -> Summary | None:
    """Let annotations vote for their labels with their lengths; None where no label was found."""
    votes: dict[str, int] = {}
    for one in found:
        if one.label is not None:
            votes[one.label] = votes.get(one.label, 0) + one.end_sample - one.start_sample
    total = sum(votes.values())
    if not total:
        return None
    label = max(sorted(votes), key=votes.__getitem__)
    shares = {name: round(value / total, DIGITS) for name, value in sorted(votes.items())}
    return Summary(label=label, text=label, confidence=shares[label], data={"votes": shares})
