"""Whatever a model says, in whatever order chunks are done: data that can be stored, inside the recording."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hearings import hear, listen
from support.model_talk import REQUESTS, chunks, models

from pipeline.stitching import stitch
from pipeline.tasks import TASKS, get_task
from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.parsed import Flag, Parsed
from pipeline.tasks.questions import HeardChunk, Question
from pipeline.tasks.text import has_control_token
from qwen_audio.answers import Answer

Model = Callable[[Question], Answer]


def store(data: Any) -> Any:
    """Write what a database and a browser would read, and return that."""
    written = json.dumps(data, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert b"\\u0000" not in written, "PostgreSQL refuses NUL in JSON"
    return json.loads(written)


def test_every_task_is_among_the_requests_that_are_tried() -> None:
    assert {name for name, _ in REQUESTS} == set(TASKS)


@settings(deadline=None)  # a busy machine is not a defect
@given(request=st.sampled_from(REQUESTS), model=models(), chunk=chunks())
def test_no_answer_breaks_a_hearing(
    request: tuple[str, dict[str, Any]], model: Model, chunk: HeardChunk
) -> None:
    name, options = request
    parsed = hear(name, model, chunk, **options)
    assert store(parsed) == parsed
    assert set(parsed["flags"]) <= set(map(str, Flag))
    assert len(set(parsed["flags"])) == len(parsed["flags"])
    placed = [*parsed.get("items", []), *parsed.get("utterances", [])]
    assert all(0 <= one["start_sample"] < one["end_sample"] <= chunk.samples for one in placed)
    assert not any(has_control_token(one["text"]) for one in placed)
    times = [time for word in parsed.get("words", []) for time in (word["start_sample"], word["end_sample"])]
    assert times == sorted(times)
    assert all(0 <= time <= chunk.samples for time in times)


@settings(deadline=None)  # a busy machine is not a defect
@given(request=st.sampled_from(REQUESTS), model=models(), chunk=chunks())
def test_a_hearing_asks_little_and_only_of_windows_that_can_be_heard(
    request: tuple[str, dict[str, Any]], model: Model, chunk: HeardChunk
) -> None:
    asked: list[Question] = []

    def noting(question: Question) -> Answer:
        asked.append(question)
        return model(question)

    hear(request[0], noting, chunk, **request[1])
    assert len(asked) <= 40
    for question in asked:
        start, end = question.window or (0, chunk.samples)
        assert 0 <= start <= end - 1_600
        assert end <= chunk.samples
        assert 1 <= question.limit <= 1_024


@pytest.mark.parametrize(("name", "options"), REQUESTS)
def test_the_same_answers_are_always_parsed_the_same(name: str, options: dict[str, Any]) -> None:
    task, chunk = get_task(name), HeardChunk(480_000, ((0, 100_000), (200_000, 480_000)))
    said = "so<|0.50|>and<|1.00|>面<|2.00|>"

    def model(question: Question) -> Answer:
        scores = {str(one): -1.0 - place for place, one in enumerate(question.candidates)}
        return Answer(said, (1,), (-0.5,), "stop", scores)  # type: ignore[arg-type]

    heard = [listen(task.hear(chunk, task.Options(**options)), model) for _ in range(2)]
    assert heard[0] == heard[1]


@st.composite
def recordings(draw: st.DrawFn, request: tuple[str, dict[str, Any]]) -> list[Part]:
    """One or two channels cut into chunks that overlap, with what a task parsed of each, or nothing."""
    name, options = request
    model = draw(models())
    parts = []
    for channel in range(draw(st.integers(1, 2))):
        total = draw(st.integers(1_600, 900_000))
        cuts = sorted(draw(st.sets(st.integers(1, total - 1), max_size=3)))
        overlap = draw(st.sampled_from([0, 0, 8_000, 16_000]))
        for index, (start, end) in enumerate(pairwise([0, *cuts, total])):
            heard = max(0, start - overlap), min(total, end + overlap)
            chunk = draw(chunks(heard[1] - heard[0]))
            chunk = replace(chunk, owned=(start - heard[0], end - heard[0]))
            parsed: Parsed | None = hear(name, model, chunk, **options) if draw(st.booleans()) else None
            speech = tuple((heard[0] + a, heard[0] + b) for a, b in chunk.speech or ())
            speech = tuple((max(a, start), min(b, end)) for a, b in speech if a < end and b > start)
            known = None if chunk.speech is None else speech
            parts.append(Part(channel, index, start, end, *heard, speech=known, parsed=parsed))
    return parts


def check(findings: Findings, parts: list[Part]) -> None:
    total = {part.channel: 0 for part in parts}
    for part in parts:
        total[part.channel] = max(total[part.channel], part.owned_end)
    for found in (findings.segments, findings.annotations):
        assert [one.index for one in found] == list(range(len(found)))
        assert [one.start_sample for one in found] == sorted(one.start_sample for one in found)
        assert all(0 <= one.start_sample <= one.end_sample <= total[one.channel] for one in found)
        for one in found:
            store(asdict(one))
    for channel in total:
        words = [word for one in findings.segments if one.channel == channel for word in one.words]
        times = [time for word in words for time in (word.start_sample, word.end_sample)]
        assert times == sorted(times)
    if findings.summary is not None:
        store(asdict(findings.summary))


@settings(deadline=None)  # a busy machine is not a defect
@given(data=st.data(), request=st.sampled_from(REQUESTS), shuffler=st.randoms(use_true_random=False))
def test_no_answer_breaks_a_recording_and_the_order_of_completion_changes_nothing(
    data: st.DataObject, request: tuple[str, dict[str, Any]], shuffler: random.Random
) -> None:
    parts = data.draw(recordings(request))
    findings = stitch(*request, parts)
    check(findings, parts)
    shuffler.shuffle(parts)
    assert stitch(*request, parts) == findings


@settings(deadline=None)  # a busy machine is not a defect
@given(
    data=st.data(),
    request=st.sampled_from([one for one in REQUESTS if one[0] in ("transcribe", "translate", "emotion")]),
)
def test_what_has_no_word_times_is_said_by_one_chunk_only(
    data: st.DataObject, request: tuple[str, dict[str, Any]]
) -> None:
    """Neighbours hear the same second, but utterances and text without times stay inside what each chunk owns."""
    parts = data.draw(recordings(request))
    findings = stitch(*request, parts)
    texts = [one for one in findings.segments if not one.words]
    for found in (texts, findings.annotations):
        for channel in (0, 1):
            mine = [one for one in found if one.channel == channel]
            assert all(before.end_sample <= after.start_sample for before, after in pairwise(mine))


@settings(deadline=None)  # a busy machine is not a defect
@given(
    data=st.data(), request=st.sampled_from([one for one in REQUESTS if one[0] not in ("language", "locate")])
)
def test_no_item_or_utterance_that_says_something_is_lost_in_stitching(
    data: st.DataObject, request: tuple[str, dict[str, Any]]
) -> None:
    parts = [replace(part, channel=0) for part in data.draw(recordings(request)) if part.channel == 0]
    findings = stitch(*request, parts)
    found = {one.text for one in (*findings.segments, *findings.annotations)}
    for part in parts:
        said = (part.parsed or {}).get("items", []) + (part.parsed or {}).get("utterances", [])
        owned = part.owned_start - part.heard_start, part.owned_end - part.heard_start
        mine = [one for one in said if one["start_sample"] < owned[1] and one["end_sample"] > owned[0]]
        assert {one["text"] for one in mine if any(map(str.isalnum, one["text"]))} <= found
