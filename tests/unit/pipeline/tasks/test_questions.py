"""Questions: how long an answer may be, and what happens to one that its limit has cut."""

from __future__ import annotations

from typing import Any

import pytest
from support.hearings import HALF_MINUTE, Scripted, answer, hear, listen

from pipeline.tasks import TASKS, get_task
from pipeline.tasks.questions import LONGEST_ANSWER, HeardChunk, Question, ask_patiently
from qwen_audio.answers import FinishReason
from qwen_audio.tags import Prompt, Tag

PROMPT = Prompt((Tag.START_OF_ANALYSIS,))
LONGEST_PROMPT_OF_TAGS = 16
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TASKS if name not in ("ask", "locate", "vocal")),
    ("vocal", {"always": True}),
    ("transcribe", {"timestamps": "none"}),
    ("transcribe", {"timestamps": "segment", "language": "ja"}),
    ("translate", {"language": "de"}),
    ("music", {"description": True}),
    ("ask", {"question": "is it loud?"}),
    ("locate", {"phrase": "thank you"}),
]
cut = answer("well", FinishReason.LENGTH)


def test_the_limit_follows_the_seconds_heard() -> None:
    task = get_task("transcribe")
    text, words = task.Options(timestamps="none"), task.Options(timestamps="word")
    assert task.limit(text, 30.0) == 240
    assert task.limit(words, 30.0) == 480
    assert task.limit(words, 0.03) == task.limit(text, 0.03) == 32
    model = Scripted(["so it goes"])
    for samples in (480_000, 160_000, 16_000):
        hear("translate", model, HeardChunk(samples), language="de")
    assert [question.limit for question in model.decoded] == [240, 80, 32]
    assert {name: get_task(name).limit(None, 30.0) for name in ("caption", "scene", "events")} == {
        "caption": 64,
        "scene": 16,
        "events": 48,
    }


@pytest.mark.parametrize(("name", "options"), REQUESTS)
def test_audio_prompt_and_answer_fit_below_the_length_the_model_was_trained_at(
    name: str, options: dict[str, Any]
) -> None:
    model = Scripted([cut])
    hear(name, model, HALF_MINUTE, **options)
    longest = max(question.limit for question in model.asked)
    assert 752 + LONGEST_PROMPT_OF_TAGS + longest < 2_048


def test_an_answer_that_its_limit_cut_is_asked_for_once_more_with_twice_the_limit() -> None:
    model = Scripted([cut, "well then"])
    parsed = hear("caption", model)
    assert [question.limit for question in model.asked] == [64, 128]
    assert (parsed["items"][0]["text"], parsed["flags"]) == ("well then", [])


def test_an_answer_that_is_cut_again_is_kept_and_flagged() -> None:
    model = Scripted([cut, answer("well well", FinishReason.LENGTH)])
    parsed = hear("caption", model)
    assert len(model.asked) == 2
    assert (parsed["items"][0]["text"], parsed["flags"]) == ("well well", ["cut_by_limit"])


def test_only_what_was_cut_is_asked_again_and_answers_keep_their_order() -> None:
    model = Scripted(["first", cut, "third", "second"])
    asked = [Question(PROMPT, limit) for limit in (5, 6, 7)]
    texts = [one.text for one in listen(ask_patiently(asked), model)]
    assert texts == ["first", "second", "third"]
    assert [question.limit for question in model.asked] == [5, 6, 7, 12]


def test_a_second_try_never_asks_for_more_than_the_longest_answer() -> None:
    model = Scripted([cut])
    listen(ask_patiently([Question(PROMPT, 1_000)]), model)
    assert [question.limit for question in model.asked] == [1_000, LONGEST_ANSWER]


def test_who_asks_nothing_waits_for_nothing() -> None:
    assert listen(ask_patiently([]), Scripted()) == []


@pytest.mark.parametrize(
    ("finish", "flag"),
    [
        (FinishReason.LENGTH, "cut_by_limit"),
        (FinishReason.LOOP, "loop"),
        (FinishReason.DEADLINE, "cut_by_deadline"),
        (FinishReason.CANCELLED, "cancelled"),
    ],
)
@pytest.mark.parametrize(("name", "options"), [one for one in REQUESTS if one[0] != "language"])
def test_an_answer_that_was_cut_says_so(
    name: str, options: dict[str, Any], finish: FinishReason, flag: str
) -> None:
    text = "laughter<|0.50|><|midi_pitch_60|>" if name in ("vocal", "music") else "well<|1.00|>"
    options = {"language": "de", **options} if name == "translate" else options
    parsed = hear(name, answer(text, finish), **options)
    assert flag in parsed["flags"]
    assert parsed["flags"].count(flag) == 1
