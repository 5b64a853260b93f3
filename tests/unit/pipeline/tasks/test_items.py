"""Items: placed on the timeline, joined where they meet and agree, and counted as votes."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hearings import answer

from pipeline.tasks.findings import Annotation, Part, Span
from pipeline.tasks.items import annotate, as_label, item, join_equal, names_in, parsed_items, read_text, vote
from pipeline.tasks.parsed import Flag


def note(label: str | None, start: int, end: int, channel: int = 0, **more: object) -> Annotation:
    return Annotation("scene", channel, 0, start, end, label, label or "—", **more)  # type: ignore[arg-type]


def spans(found: list[Annotation]) -> list[tuple[str | None, int, int]]:
    return [(one.label, one.start_sample, one.end_sample) for one in found]


def part(*windows: Span) -> Part:
    """A chunk that owns 100..200 and hears 50 more on both sides, with items in windows from 50 on."""
    items = [item(window, f"item {place}") for place, window in enumerate(windows)]
    return Part(0, 1, 100, 200, 50, 250, parsed=parsed_items(items))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" Happy. ", "happy"),
        ("“—”", None),
        ("...", None),
        ("", None),
        ('"Throat-clearing"!', "throat-clearing"),
        ("开心。", "开心"),
        ("x" * 80, "x" * 64),
        ("İ" * 64, "i̇" * 32),  # lower case can be longer
    ],
)
def test_a_label_is_lower_case_without_marks_around_it_and_not_too_long(text: str, label: str | None) -> None:
    assert as_label(text) == label


def test_names_stand_between_commas_once_each_whatever_their_case() -> None:
    assert names_in("Rain,, Bell，rain、铃 ,—", 9) == ["Rain", "Bell", "铃"]
    assert names_in("a, b, c", 2) == ["a", "b"]


def test_text_says_what_was_wrong_with_it_in_a_fixed_order() -> None:
    assert read_text(answer(" so ,<|en|>")) == ("so,", [Flag.STRAY_TAGS])
    assert read_text(answer("<|en|>")) == ("", [Flag.STRAY_TAGS, Flag.UNPARSED])
    assert read_text(answer("你 好"), "zh") == ("你好", [])


def test_a_chunk_lists_every_flag_of_its_items_once() -> None:
    flagged = [item((0, 1), "a", flags=["loop", "empty"]), item((1, 2), "b", flags=["loop"])]
    assert parsed_items(flagged, ["unparsed"], extra=1) == {
        "items": flagged,
        "extra": 1,
        "flags": ["unparsed", "loop", "empty"],
    }


def test_an_item_of_the_whole_chunk_takes_what_it_owns() -> None:
    assert spans(annotate("scene", [part((0, 200))])) == [(None, 100, 200)]


def test_an_item_lies_on_what_its_chunk_owns_of_it_and_the_rest_is_a_neighbours() -> None:
    found = annotate("scene", [part((0, 50), (0, 51), (60, 90), (120, 178), (149, 200), (150, 200))])
    assert [(one.text, one.start_sample, one.end_sample) for one in found] == [
        ("item 1", 100, 101),
        ("item 2", 110, 140),
        ("item 3", 170, 200),
        ("item 4", 199, 200),
    ]


def test_items_without_words_and_chunks_without_answers_say_nothing() -> None:
    silent = Part(0, 0, 0, 100, 0, 100, parsed=parsed_items([item((0, 100), "...")]))
    assert annotate("scene", [silent, replace(silent, parsed=None)]) == []


def test_what_an_item_is_told_of_its_request_does_not_hide_what_it_says_itself() -> None:
    told = parsed_items([item((0, 100), "a", data={"style": "own"}, answer=answer("a"))])
    (one,) = annotate("scene", [Part(0, 0, 0, 100, 0, 100, parsed=told)], {"style": "x", "per": "chunk"})
    assert one.data == {"avg_logprob": -0.5, "style": "own", "per": "chunk"}


def test_what_says_the_same_and_meets_is_one() -> None:
    assert spans(join_equal([note("park", 0, 10), note("park", 10, 20), note("park", 21, 30)])) == [
        ("park", 0, 20),
        ("park", 21, 30),
    ]


def test_what_differs_or_lies_on_another_channel_stays_apart() -> None:
    found = [note("park", 0, 10), note("car", 10, 20), note("park", 20, 30), note("park", 0, 10, channel=1)]
    assert spans(join_equal(found)) == [("park", 0, 10), ("car", 10, 20), ("park", 20, 30), ("park", 0, 10)]


def test_one_finding_of_several_has_their_mean_confidence_by_length_and_all_their_flags() -> None:
    (one,) = join_equal(
        [
            note("park", 0, 30, data={"avg_logprob": -0.2, "style": "a"}, flags=("loop",)),
            note("park", 30, 40, data={"avg_logprob": -0.6, "style": "b"}, flags=("loop", "empty")),
            note("park", 40, 90, data={"avg_logprob": None}),
        ]
    )
    assert one.data == {"avg_logprob": pytest.approx(-0.3), "style": "a"}
    assert one.flags == ("loop", "empty")


def test_labels_are_voted_for_by_length_and_what_has_none_does_not_vote() -> None:
    summary = vote([note("park", 0, 10), note("car", 10, 40), note(None, 40, 90), note("park", 90, 100)])
    assert summary is not None
    assert (summary.label, summary.text, summary.confidence) == ("car", "car", 0.6)
    assert summary.data == {"votes": {"car": 0.6, "park": 0.4}}


def test_a_tie_is_settled_by_name_and_nothing_has_no_winner() -> None:
    tie = vote([note("park", 0, 10), note("car", 10, 20)])
    assert tie is not None
    assert tie.label == "car"
    assert vote([]) is None
    assert vote([note(None, 0, 10)]) is None


tiles = st.lists(
    st.tuples(st.integers(1, 50), st.sampled_from(["park", "car", None]), st.integers(0, 1)), max_size=20
)


@settings(deadline=None)  # a busy machine is not a defect
@given(tiles, st.randoms(use_true_random=False))
def test_joining_covers_what_was_covered_leaves_nothing_to_join_and_ignores_the_order(
    tiled: list[tuple[int, str | None, int]], shuffler: random.Random
) -> None:
    found, clocks = [], [0, 0]
    for length, label, channel in tiled:
        found.append(note(label, clocks[channel], clocks[channel] + length, channel))
        clocks[channel] += length
    joined = join_equal(found)
    shuffler.shuffle(found)
    assert join_equal(found) == joined == join_equal(joined)
    covered = {
        (one.channel, one.label, at) for one in found for at in range(one.start_sample, one.end_sample)
    }
    again = [(one.channel, one.label, at) for one in joined for at in range(one.start_sample, one.end_sample)]
    assert sorted(again, key=str) == sorted(covered, key=str)
    before, after = vote(found), vote(joined)
    assert before == after
