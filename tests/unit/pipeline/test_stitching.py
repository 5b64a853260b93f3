"""Stitching: nothing lost, nothing doubled, whatever finished first."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stitching import stitch
from pipeline.tasks.findings import Part, Segment, milliseconds
from pipeline.tasks.utterances import MAX_SEGMENT_CHARACTERS, MAX_SEGMENT_SAMPLES

SECOND = 16_000
WORDS = {"timestamps": "word"}


def said(
    text: str, words: Sequence[tuple[str, float, float]] = (), flags: Sequence[str] = ()
) -> dict[str, Any]:
    """A parsed transcript; word times in seconds from the heard start."""
    return {
        "text": text or " ".join(word for word, _, _ in words),
        "words": [
            {"text": word, "start_sample": int(start * SECOND), "end_sample": int(end * SECOND)}
            for word, start, end in words
        ],
        "avg_logprob": -0.25,
        "flags": list(flags),
    }


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
    return [segment.text for segment in segments]


def test_importing_tasks_and_stitching_stays_free_of_torch() -> None:
    code = "import sys, pipeline.stitching, pipeline.tasks.requests; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_millisecond_is_sixteen_samples() -> None:
    assert [milliseconds(sample) for sample in (0, 15, 16, 480_000)] == [0, 0, 1, 30_000]


@pytest.mark.parametrize("spans", [(5, 5, 5, 5), (5, 9, 6, 9), (5, 9, 5, 8), (0, 4, -1, 4)])
def test_a_part_refuses_spans_that_do_not_nest(spans: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="not inside"):
        Part(0, 0, *spans)


def test_two_parts_that_own_one_sample_are_refused() -> None:
    with pytest.raises(ValueError, match="both own sample 32000"):
        stitch("caption", {}, [part(0, 3, None), part(2, 5, None)])


def test_text_is_one_segment_over_the_owned_speech_of_its_chunk() -> None:
    speech = ((0, 8_000), (20_000, 30_000), (40_000, 90_000))
    found = stitch("transcribe", {}, [part(1, 5, said("so it goes"), overlap=1, speech=speech)])
    assert found.segments == (
        Segment(0, 0, 20_000, 80_000, "so it goes", "en", (), avg_logprob=-0.25, flags=()),
    )


def test_text_without_a_speech_map_spans_the_chunk() -> None:
    (segment,) = stitch("transcribe", {}, [part(1, 5, said("yes"))]).segments
    assert (segment.start_sample, segment.end_sample) == (SECOND, 5 * SECOND)


def test_words_stand_in_recording_time() -> None:
    (segment,) = stitch(
        "transcribe", WORDS, [part(30, 40, said("", [("hello", 1.5, 2.0)]), overlap=1)]
    ).segments
    assert (segment.words[0].start_sample, segment.words[0].end_sample) == (30.5 * SECOND, 31 * SECOND)
    assert (segment.start_sample, segment.end_sample) == (30.5 * SECOND, 31 * SECOND)


def test_a_word_belongs_to_the_chunk_that_owns_its_middle() -> None:
    left = part(0, 10, said("", [("kept", 9.5, 10.25), ("left", 10.25, 10.75)]), overlap=1)
    right = part(10, 20, said("", [("early", 0.0, 0.5), ("late", 1.5, 2.0)]), overlap=1)
    found = stitch("transcribe", WORDS, [right, left])
    assert texts(found.segments) == ["kept", "late"]


def test_a_word_that_two_chunks_place_differently_is_said_once() -> None:
    left = part(0, 10, said("", [("gospel", 9.6, 10.3)]), overlap=1)  # middle 9.95: both would keep it
    right = part(10, 20, said("", [("gospel", 0.7, 1.4)]), overlap=1)  # middle 10.05
    assert texts(stitch("transcribe", WORDS, [left, right]).segments) == ["gospel"]
    left = part(0, 10, said("", [("gospel", 9.7, 10.4)]), overlap=1)  # middle 10.05: none would keep it
    right = part(10, 20, said("", [("gospel", 0.6, 1.3)]), overlap=1)  # middle 9.95
    assert texts(stitch("transcribe", WORDS, [left, right]).segments) == ["gospel"]


def test_a_word_said_twice_around_a_seam_without_overlap_is_kept_twice() -> None:
    left, right = part(0, 10, said("", [("no", 9.8, 10.0)])), part(10, 20, said("", [("no", 0.0, 0.2)]))
    assert texts(stitch("transcribe", WORDS, [left, right]).segments) == ["no", "no"]


def test_only_words_that_both_could_hear_are_taken_for_one() -> None:
    before, after = said("", [("no", 9.8, 10.0)]), said("", [("no", 0.0, 0.2)])
    reaches_over = part(0, 10, before, overlap=1), part(10, 20, after)
    assert texts(stitch("transcribe", WORDS, reaches_over).segments) == ["no", "no"]
    reaches_back = part(0, 10, before), part(10, 20, said("", [("no", 1.0, 1.2)]), overlap=1)
    assert texts(stitch("transcribe", WORDS, reaches_back).segments) == ["no", "no"]


def test_a_repeated_word_is_paired_with_its_closest_hearing() -> None:
    left = part(0, 10, said("", [("no", 9.7, 9.9), ("no", 9.9, 10.1)]), overlap=1)
    right = part(10, 20, said("", [("no", 0.92, 1.12)]), overlap=1)
    assert texts(stitch("transcribe", WORDS, [left, right]).segments) == ["no", "no"]


def test_utterances_end_before_they_grow_too_long() -> None:
    slow = [("word", float(i), i + 0.9) for i in range(20)]
    found = stitch("transcribe", WORDS, [part(0, 20, said("", slow))]).segments
    assert [len(segment.words) for segment in found] == [15, 5]
    long = [("w" * 49, i * 0.1, i * 0.1 + 0.1) for i in range(8)]
    found = stitch("transcribe", WORDS, [part(0, 20, said("", long))]).segments
    assert [len(segment.text) for segment in found] == [199, 199]


def test_an_empty_word_at_the_very_end_is_not_lost() -> None:
    assert texts(stitch("transcribe", WORDS, [part(0, 10, said("", [("end", 10.0, 10.0)]))]).segments) == [
        "end"
    ]


def test_words_that_overlap_at_a_seam_meet_there() -> None:
    left = part(0, 10, said("", [("long", 9.0, 10.9)]), overlap=1)
    right = part(10, 20, said("", [("word", 0.9, 1.2)]), overlap=1)
    segments = stitch("transcribe", WORDS, [left, right]).segments
    assert [(s.start_sample, s.end_sample) for s in segments] == [(144_000, 160_000), (160_000, 163_200)]


def test_utterances_end_at_pauses_and_sentence_ends() -> None:
    words = [("so", 0.0, 0.5), ("it", 0.5, 1.0), ("goes.", 1.0, 1.5), ("well", 1.5, 2.0), ("then", 2.6, 3.0)]
    assert texts(stitch("transcribe", WORDS, [part(0, 10, said("", words))]).segments) == [
        "so it goes.",
        "well",
        "then",
    ]


def test_chinese_utterances_have_no_spaces() -> None:
    words = [("面", 0.0, 0.2), ("条", 0.2, 0.4)]
    (segment,) = stitch("transcribe", {"language": "zh", **WORDS}, [part(0, 1, said("", words))]).segments
    assert (segment.text, segment.language) == ("面条", "zh")


def test_flags_and_confidence_of_a_chunk_reach_its_segments() -> None:
    words = [("well", 0.0, 0.5), ("then", 2.0, 2.5)]
    segments = stitch("transcribe", WORDS, [part(0, 9, said("", words, ["cut_by_limit"]))]).segments
    assert [(s.flags, s.avg_logprob) for s in segments] == [(("cut_by_limit",), -0.25)] * 2


def test_text_whose_times_are_missing_stays_in_the_transcript() -> None:
    left, right = (
        part(0, 10, said("no times", flags=["missing_times"])),
        part(10, 20, said("", [("times", 1.0, 2.0)])),
    )
    assert texts(stitch("transcribe", WORDS, [left, right]).segments) == ["no times", "times"]


def test_chunks_that_were_skipped_or_silent_say_nothing() -> None:
    parts = [part(0, 10, None), part(10, 20, said("", flags=["empty"])), part(20, 30, said("here"))]
    assert texts(stitch("transcribe", {}, parts).segments) == ["here"]


def test_two_channels_are_told_apart_and_listed_by_time() -> None:
    parts = [
        part(10, 20, said("third")),
        part(0, 12, said("second"), channel=1),
        part(12, 20, said("fourth"), channel=1),
        part(0, 10, said("first")),
    ]
    segments = stitch("transcribe", {}, parts).segments
    assert texts(segments) == ["first", "second", "third", "fourth"]
    assert [segment.channel for segment in segments] == [0, 1, 0, 1]
    assert [segment.index for segment in segments] == [0, 1, 2, 3]


def test_captions_and_emotions_lie_on_the_owned_span() -> None:
    caption = {"text": "Rain falls.", "avg_logprob": -1.0, "flags": []}
    emotion = {**caption, "text": "Sad.", "label": "sad"}
    (rain,) = stitch("caption", {"style": "plain"}, [part(1, 5, caption, overlap=1)]).annotations
    (sad,) = stitch("emotion", {}, [part(1, 5, emotion, overlap=1)]).annotations
    assert (rain.task, rain.label, rain.text, rain.data) == (
        "caption",
        None,
        "Rain falls.",
        {"avg_logprob": -1.0, "style": "plain"},
    )
    assert (sad.task, sad.label, sad.text) == ("emotion", "sad", "Sad.")
    assert (sad.start_sample, sad.end_sample) == (SECOND, 5 * SECOND)


def test_annotations_are_numbered_and_wordless_ones_left_out() -> None:
    caption = {"text": "Rain.", "avg_logprob": None, "flags": []}
    parts = [part(0, 5, caption), part(5, 9, {**caption, "text": "..."}), part(9, 12, caption)]
    annotations = stitch("caption", {}, parts[::-1]).annotations
    assert [(a.index, a.start_sample) for a in annotations] == [(0, 0), (1, 9 * SECOND)]


# Whatever the recording.


@st.composite
def recordings(draw: st.DrawFn, jitter: int) -> tuple[list[Part], list[str]]:
    """Speech cut into chunks that overlap, each of which places the words it hears up to ``jitter`` samples off."""
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
                words.append(
                    {"text": text, "start_sample": placed - heard_start, "end_sample": floor - heard_start}
                )
        parsed = {
            "text": " ".join(w["text"] for w in words),
            "words": words,
            "avg_logprob": None,
            "flags": [],
        }
        parts.append(Part(0, index, start, end, heard_start, heard_end, parsed=parsed))
    return parts, [text for text, _, _ in truth]


@settings(deadline=None)  # a busy machine is not a defect
@given(recordings(jitter=640))
def test_every_word_is_said_once_and_in_order(recording: tuple[list[Part], list[str]]) -> None:
    parts, truth = recording
    segments = stitch("transcribe", WORDS, parts).segments
    words = [word for segment in segments for word in segment.words]
    assert [word.text for word in words] == truth
    times = [time for word in words for time in (word.start_sample, word.end_sample)]
    assert times == sorted(times)


@settings(deadline=None)  # a busy machine is not a defect
@given(recordings(jitter=4_000), recordings(jitter=0), st.randoms(use_true_random=False))
def test_the_order_of_completion_changes_nothing(
    left: tuple[list[Part], list[str]], right: tuple[list[Part], list[str]], shuffler: random.Random
) -> None:
    other = [
        Part(1, p.index, p.owned_start, p.owned_end, p.heard_start, p.heard_end, parsed=p.parsed)
        for p in right[0]
    ]
    parts = left[0] + other
    found = stitch("transcribe", WORDS, parts)
    shuffler.shuffle(parts)
    assert stitch("transcribe", WORDS, parts) == found
    assert [segment.index for segment in found.segments] == list(range(len(found.segments)))
    starts = [segment.start_sample for segment in found.segments]
    assert starts == sorted(starts)


@settings(deadline=None)  # a busy machine is not a defect
@given(recordings(jitter=0))
def test_segments_hold_their_words_and_stay_short(recording: tuple[list[Part], list[str]]) -> None:
    for segment in stitch("transcribe", WORDS, recording[0]).segments:
        assert segment.text.split() == [word.text for word in segment.words]
        assert segment.start_sample == segment.words[0].start_sample
        assert segment.end_sample == segment.words[-1].end_sample
        if len(segment.words) > 1:
            assert segment.end_sample - segment.start_sample <= MAX_SEGMENT_SAMPLES
            assert len(segment.text) <= MAX_SEGMENT_CHARACTERS


@settings(deadline=None)  # a busy machine is not a defect
@given(
    st.lists(st.tuples(st.integers(1, 90_000), st.booleans()), max_size=20), st.randoms(use_true_random=False)
)
def test_every_chunk_that_answered_has_its_caption(
    chunks: list[tuple[int, bool]], shuffler: random.Random
) -> None:
    parts, clock = [], 0
    for index, (length, answered) in enumerate(chunks):
        parsed = {"text": f"sound {index}", "avg_logprob": None, "flags": []} if answered else None
        parts.append(Part(0, index, clock, clock + length, clock, clock + length, parsed=parsed))
        clock += length
    expected = [(f"sound {p.index}", p.owned_start, p.owned_end) for p in parts if p.parsed]
    shuffler.shuffle(parts)
    found = stitch("caption", {}, parts).annotations
    assert [(a.text, a.start_sample, a.end_sample) for a in found] == expected
