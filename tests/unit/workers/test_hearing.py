"""A pass opens its chunk once, shares questions, hears windows by themselves, and waits for places."""

from __future__ import annotations

import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db.understanding import UnderstandWork
from pipeline.hearing import Hearings
from pipeline.tasks.questions import STOP_TAGS, HeardChunk, Question
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.chatml import clip_parts, question_prompt
from qwen_audio.errors import EngineFull
from qwen_audio.tags import Prompt, Tag
from workers.hearing import ChunkTalk, PassTooSlow
from workers.understand import heard_chunk

SAMPLES = np.arange(32_000, dtype=np.int16)
PROMPT = Prompt((Tag.START_OF_TRANSCRIPT,))


class RecordingEngine:
    """Answer at once, with the length of the clip; note what was opened and asked."""

    revision = "r1"

    def __init__(self, places: int = 8, reason: FinishReason = FinishReason.STOP) -> None:
        self.places, self.reason = places, reason
        self.opened: list[tuple[int, int]] = []
        self.asked: list[dict[str, Any]] = []
        self.open_now = self.most_open = 0

    def open(self, samples: np.ndarray) -> RecordingEngine:
        if self.open_now >= self.places:
            raise EngineFull("full")
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)
        self.opened.append((int(samples[0]), len(samples)))
        return self

    def branch(self, prompt: Prompt, limit: int, **more: Any) -> Future[Answer]:
        self.asked.append({"prompt": prompt, "limit": limit, **more})
        future: Future[Answer] = Future()
        future.set_result(Answer("yes", (1,), (-0.1,), self.reason))
        return future

    def close(self) -> None:
        self.open_now -= 1


def hearing(*stages: list[Question]):
    texts = []
    for questions in stages:
        answers = yield questions
        texts += [answer.text for answer in answers]
    return {"texts": texts, "flags": []}


def run(engine: RecordingEngine, hearings: Hearings, seconds: float = 5.0) -> dict[str, Any]:
    ChunkTalk(engine, SAMPLES, time.monotonic() + seconds, lambda: None).run(hearings)
    return hearings.parsed


def test_the_chunk_is_opened_once_for_all_requests_and_equal_questions_are_asked_once() -> None:
    engine = RecordingEngine()
    same, other = Question(PROMPT, 8), Question(PROMPT, 9)
    parsed = run(engine, Hearings({"a": hearing([same]), "b": hearing([same, other], [same])}))
    assert parsed == {"a": {"texts": ["yes"], "flags": []}, "b": {"texts": ["yes"] * 3, "flags": []}}
    assert engine.opened == [(0, 32_000)]
    assert [asked["limit"] for asked in engine.asked] == [8, 9]
    assert engine.open_now == 0


def test_windows_are_heard_by_themselves_and_given_back() -> None:
    engine = RecordingEngine(places=2)
    windows = [(start, start + 4_000) for start in range(0, 32_000, 4_000)]
    parsed = run(
        engine, Hearings({"a": hearing([Question(PROMPT, 8)], [Question(PROMPT, 8, w) for w in windows])})
    )
    assert len(parsed["a"]["texts"]) == 9
    assert engine.opened == [(0, 32_000), *((start, end - start) for start, end in windows)]
    assert engine.most_open == 2
    assert engine.open_now == 0


def test_a_pass_waits_for_a_place() -> None:
    engine = RecordingEngine(places=1)
    other = engine.open(SAMPLES)
    checks: list[int] = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            other.close()

    hearings = Hearings({"a": hearing([Question(PROMPT, 8)])})
    ChunkTalk(engine, SAMPLES, time.monotonic() + 5, check).run(hearings)
    assert hearings.parsed["a"]["texts"] == ["yes"]
    assert len(checks) >= 3


def test_a_pass_that_gets_no_place_in_time_says_so_and_leaves_nothing_open() -> None:
    engine = RecordingEngine(places=1)
    engine.open(SAMPLES)
    with pytest.raises(PassTooSlow):
        run(engine, Hearings({"a": hearing([Question(PROMPT, 8)])}), seconds=0.1)
    assert engine.open_now == 1


def test_an_answer_that_a_deadline_cut_is_no_answer() -> None:
    engine = RecordingEngine(reason=FinishReason.DEADLINE)
    with pytest.raises(PassTooSlow):
        run(engine, Hearings({"a": hearing([Question(PROMPT, 8)])}))
    assert engine.open_now == 0


def test_work_that_is_moot_stops_and_closes_what_is_open() -> None:
    engine = RecordingEngine()

    class LeaseGone(Exception):
        pass

    def check() -> None:
        raise LeaseGone

    with pytest.raises(LeaseGone):
        ChunkTalk(engine, SAMPLES, time.monotonic() + 5, check).run(
            Hearings({"a": hearing([Question(PROMPT, 8)])})
        )
    assert engine.open_now == 0


def test_candidates_are_scored_and_answers_end_at_the_tags_of_both_checkpoints() -> None:
    engine = RecordingEngine()
    run(engine, Hearings({"a": hearing([Question(PROMPT, candidates=("yes", "no"))])}))
    (asked,) = engine.asked
    assert asked["score"] == ("yes", "no")
    assert set(asked["stop"]) == {Tag.END_OF_TEXT, Tag.IM_START, Tag.IM_END}


def test_speech_that_runs_through_a_seam_goes_on_to_the_end_of_what_is_heard() -> None:
    work = UnderstandWork(
        timeline_uri="file:///t.pcm",
        channel_count=1,
        channel=0,
        owned_start=100_000,
        owned_end=200_000,
        heard_start=84_000,
        heard_end=216_000,
        speech=((100_000, 120_000), (150_000, 160_000), (190_000, 200_000)),
        requests=(),
    )
    speech = ((0, 36_000), (66_000, 76_000), (106_000, 132_000))
    assert heard_chunk(work) == HeardChunk(132_000, speech, owned=(16_000, 116_000))


def test_a_conversation_opens_the_chunk_behind_the_recordings_that_it_is_compared_with(
    tmp_path: Path,
) -> None:
    torch = pytest.importorskip("torch")
    from qwen_audio.engine import Engine
    from qwen_audio.tiny import write_tiny

    torch.set_num_threads(1)
    write_tiny(tmp_path)
    chance = np.random.default_rng(3)
    chunk, other = (chance.integers(-9_000, 9_000, 16_000).astype(np.int16) for _ in range(2))
    plain = Question(question_prompt("what is it?"), 4, is_chat=True)
    compared = Question(question_prompt("what is it?"), 4, is_chat=True, references=("other",))
    tagged = Question(PROMPT, 4)
    answers = {}
    with Engine.load(tmp_path, device="cpu", places=4) as engine:
        hearings = Hearings({"a": hearing([plain, compared, tagged])})
        ChunkTalk(engine, chunk, time.monotonic() + 60, lambda: None, {"other": other}).run(hearings)
        answers = hearings.answers
        assert engine.free_places == 4
        with engine.open_parts(clip_parts([other, chunk])) as prefix:
            alone = prefix.branch(compared.prompt, 4, stop=STOP_TAGS).result()
    assert answers[compared].ids == alone.ids
    assert answers[plain].numbers.audio_tokens < answers[compared].numbers.audio_tokens
