"""Stitching: nothing lost, nothing doubled, whatever finished first."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.parts import SECOND, part, recordings, said, texts

from pipeline.stitching import stitch
from pipeline.tasks.findings import Part, milliseconds
from pipeline.tasks.items import item, parsed_items
from pipeline.tasks.task import UnknownTask

WORDS = {"timestamps": "word"}


def captioned(text: str, samples: int) -> dict[str, Any]:
    """A parsed caption of a chunk that hears so many samples."""
    return parsed_items([item((0, samples), text)])


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


def test_an_unknown_task_and_a_wrong_option_are_refused() -> None:
    with pytest.raises(UnknownTask):
        stitch("transcript", {}, [])
    with pytest.raises(ValueError, match="haiku"):
        stitch("caption", {"style": "haiku"}, [])


def test_captions_and_emotions_lie_on_the_owned_span() -> None:
    sad = parsed_items([item((0, 6 * SECOND), "Sad.", "sad")])
    (rain,) = stitch(
        "caption", {"style": "plain"}, [part(1, 5, captioned("Rain.", 6 * SECOND), overlap=1)]
    ).annotations
    (mood,) = stitch("emotion", {}, [part(1, 5, sad, overlap=1)]).annotations
    assert (rain.task, rain.label, rain.text, rain.data) == (
        "caption",
        None,
        "Rain.",
        {"avg_logprob": None, "style": "plain"},
    )
    assert (mood.task, mood.label, mood.text, mood.data["per"]) == ("emotion", "sad", "Sad.", "chunk")
    assert [(one.start_sample, one.end_sample) for one in (rain, mood)] == [(SECOND, 5 * SECOND)] * 2


def test_annotations_are_numbered_and_wordless_ones_left_out() -> None:
    captions = [captioned("Rain.", 5 * SECOND), captioned("...", 4 * SECOND), captioned("Rain.", 3 * SECOND)]
    parts = [part(0, 5, captions[0]), part(5, 9, captions[1]), part(9, 12, captions[2])]
    annotations = stitch("caption", {}, parts[::-1]).annotations
    assert [(a.index, a.start_sample) for a in annotations] == [(0, 0), (1, 9 * SECOND)]


# Whatever the recording.


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
@given(
    st.lists(st.tuples(st.integers(1, 90_000), st.booleans()), max_size=20), st.randoms(use_true_random=False)
)
def test_every_chunk_that_answered_has_its_caption(
    chunks: list[tuple[int, bool]], shuffler: random.Random
) -> None:
    parts, clock = [], 0
    for index, (length, answered) in enumerate(chunks):
        parsed = captioned(f"sound {index}", length) if answered else None
        parts.append(Part(0, index, clock, clock + length, clock, clock + length, parsed=parsed))
        clock += length
    expected = [(f"sound {p.index}", p.owned_start, p.owned_end) for p in parts if p.parsed]
    shuffler.shuffle(parts)
    found = stitch("caption", {}, parts).annotations
    assert [(a.text, a.start_sample, a.end_sample) for a in found] == expected
