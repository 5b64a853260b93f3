"""Make segments of the transcripts of a recording's chunks, and count what was said."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from pipeline.tasks.findings import Part, Segment, Summary, Word, milliseconds
from pipeline.tasks.guards import compression_ratio
from pipeline.tasks.language_votes import smooth
from pipeline.tasks.parsed import DIGITS, Flag
from pipeline.tasks.seams import settle
from pipeline.tasks.text import count_words, has_letters, join_words
from pipeline.tasks.utterances import utterances


def segments_of(parts: Sequence[Part]) -> list[Segment]:
    """Return the segments of each channel; ``parts`` hold what ``Transcribe.hear`` returned, in timeline order.

    Timed words are cut into utterances, after the seams are settled; utterances without words lie on what their part
    owns of them; text without times is one segment a chunk.
    """
    segments: list[Segment] = []
    for _, group in groupby(parts, key=lambda part: part.channel):
        channel = list(group)
        words = settle(channel, [_timeline_words(part) for part in channel])
        for part, own in zip(channel, words, strict=True):
            segments.extend(_segments(part, own))
    return segments


def settle_languages(parts: Sequence[Part]) -> list[Part]:
    """Choose between the two languages that a doubtful chunk was heard in, as it and its neighbours say together."""
    settled: list[Part] = []
    for _, group in groupby(parts, key=lambda part: part.channel):
        channel = list(group)
        known = [
            part for part in channel if part.parsed is not None and part.parsed["language_probabilities"]
        ]
        probabilities = [part.parsed["language_probabilities"] for part in known if part.parsed is not None]
        speech = [part.speech_samples for part in known]
        places = {id(part): place for place, part in enumerate(known)}
        for part in channel:
            other = (part.parsed or {}).get("alternative")
            if other is not None and id(part) in places:
                mixed = smooth(probabilities, speech, places[id(part)])
                if mixed.get(other["language"], 0.0) > mixed.get((part.parsed or {})["language"], 0.0):
                    part = replace(part, parsed=other)  # the same part, heard otherwise
            settled.append(part)
    return settled


def _timeline_words(part: Part) -> list[Word]:
    """Return a part's words, moved from the heard start to their place in the recording."""
    if part.parsed is None:
        return []
    return [
        Word(
            word["text"],
            part.heard_start + word["start_sample"],
            part.heard_start + word["end_sample"],
            word["confidence"],
        )
        for word in part.parsed["words"]
    ]


def _segments(part: Part, words: Sequence[Word]) -> Iterator[Segment]:
    """Yield a part's utterances, and the runs of the words that it says; where it has neither, its text."""
    if part.parsed is None or not has_letters(part.parsed["text"]):
        return
    parsed = part.parsed
    language = parsed["language"]
    scores = {name: parsed[name] for name in ("avg_logprob", "compression_ratio", "no_speech_prob")}
    flags = tuple(parsed["flags"])
    if parsed["utterances"]:
        yield from _utterance_segments(part)
    elif not parsed["words"]:
        start, end = part.speech_extent
        yield Segment(part.channel, 0, start, end, parsed["text"], language, **scores, flags=flags)
    for run in utterances(words):
        text = join_words((word.text for word in run), language)
        start, end = run[0].start_sample, run[-1].end_sample
        own = {**scores, "compression_ratio": compression_ratio(text)}
        yield Segment(part.channel, 0, start, end, text, language, tuple(run), **own, flags=flags)


def _utterance_segments(part: Part) -> Iterator[Segment]:
    assert part.parsed is not None  # the caller leaves the others out
    of_all = {Flag.TIMESTAMPS_UNAVAILABLE, Flag.UNKNOWN_LANGUAGE} & set(part.parsed["flags"])
    for one in part.parsed["utterances"]:
        place = part.place(one["start_sample"], one["end_sample"])
        if place is None:
            continue
        yield Segment(
            part.channel,
            0,
            *place,
            one["text"],
            part.parsed["language"],
            avg_logprob=one["avg_logprob"],
            compression_ratio=one["compression_ratio"],
            no_speech_prob=one["no_speech_prob"],
            flags=tuple(dict.fromkeys([*sorted(map(str, of_all)), *one["flags"]])),
        )


def summary_of(segments: Sequence[Segment]) -> Summary:
    """Count what was said, and name the language that was spoken longest."""
    spoken: dict[str, int] = {}
    for one in segments:
        spoken[one.language] = spoken.get(one.language, 0) + one.end_sample - one.start_sample
    total = sum(spoken.values())
    label = max(sorted(spoken), key=spoken.__getitem__, default=None)
    return Summary(
        label=label,
        confidence=round(spoken[label] / total, DIGITS) if label is not None and total else None,
        data={
            "segments": len(segments),
            "words": sum(len(one.words) or count_words(one.text, one.language) for one in segments),
            "spoken_ms": milliseconds(total),
            "spoken_ms_by_language": {code: milliseconds(value) for code, value in sorted(spoken.items())},
        },
    )
