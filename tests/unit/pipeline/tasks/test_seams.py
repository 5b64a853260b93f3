"""Seams: each word is said once, by the chunk that owns its middle, and words never run backwards."""

from __future__ import annotations

from hypothesis import given, settings
from support.parts import SECOND, part, recordings, said, texts, word_at

from pipeline.stitching import stitch
from pipeline.tasks.findings import Part

WORDS = {"timestamps": "word"}


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


def test_an_empty_word_at_the_very_end_is_not_lost() -> None:
    assert texts(stitch("transcribe", WORDS, [part(0, 10, said("", [("end", 10.0, 10.0)]))]).segments) == [
        "end"
    ]


def test_words_that_overlap_at_a_seam_meet_there() -> None:
    left = part(0, 10, said("", [("long", 9.0, 10.8)]), overlap=1)
    right = part(10, 20, said("", [("word", 0.9, 1.3)]), overlap=1)
    segments = stitch("transcribe", WORDS, [left, right]).segments
    assert [(s.start_sample, s.end_sample) for s in segments] == [(144_000, 160_000), (160_000, 164_800)]


def test_a_word_keeps_its_confidence_through_a_seam() -> None:
    left = part(0, 10, said("gospel") | {"words": [word_at("gospel", 150_000, 166_000, 0.75)]}, overlap=1)
    (segment,) = stitch("transcribe", WORDS, [left]).segments
    assert segment.words[0].confidence == 0.75


def test_a_word_that_one_side_misheard_is_said_once() -> None:
    left = part(0, 10, said("", [("gospel", 9.6, 10.3)]), overlap=1)  # middle 9.95: both would keep it
    right = part(10, 20, said("", [("gossip", 0.7, 1.4)]), overlap=1)  # middle 10.05
    assert len(stitch("transcribe", WORDS, [left, right]).segments) == 1


def test_two_words_that_both_sides_say_twice_are_paired_in_order() -> None:
    left = part(0, 10, said("", [("seven", 9.6, 9.8), ("seven", 9.85, 10.05)]), overlap=1)
    right = part(10, 20, said("", [("seven", 0.73, 0.93), ("seven", 0.98, 1.18)]), overlap=1)
    words = [word for one in stitch("transcribe", WORDS, [left, right]).segments for word in one.words]
    assert [word.text for word in words] == ["seven", "seven"]


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
@given(recordings(jitter=640, misheard=True))
def test_no_word_is_lost_or_doubled_because_a_neighbour_misheard_it(
    recording: tuple[list[Part], list[str]],
) -> None:
    parts, truth = recording
    words = [word for one in stitch("transcribe", WORDS, parts).segments for word in one.words]
    assert len(words) == len(truth)
