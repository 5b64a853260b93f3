"""Hearings: tasks that listen together ask a shared question once and understand what they would alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hearings import HALF_MINUTE, Scripted, answer, listen
from support.model_talk import REQUESTS, chunks, models

from pipeline.hearing import Hearings
from pipeline.tasks import get_task
from pipeline.tasks.questions import HeardChunk, Hearing, Question
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt, Tag

PROMPT = Prompt((Tag.START_OF_ANALYSIS,))
FIRST, SECOND, THIRD = (Question(PROMPT, limit) for limit in (1, 2, 3))


def asking(*rounds: Sequence[Question]) -> Hearing:
    heard = []
    for questions in rounds:
        heard.append([one.text for one in (yield questions)])
    return {"heard": heard, "flags": []}


def hearing_of(request: tuple[str, dict[str, Any]], chunk: HeardChunk) -> Hearing:
    task = get_task(request[0])
    return task.hear(chunk, task.Options(**request[1]))


def together(
    hearings: Hearings, model: Callable[[Question], Answer], shuffler: random.Random
) -> list[Question]:
    """Answer what is asked in any order until all is heard; return what was asked."""
    asked: list[Question] = []
    waiting: list[Question] = []
    while not hearings.is_over:
        new = hearings.new_questions()
        asked += new
        waiting += new
        question = waiting.pop(shuffler.randrange(len(waiting)))
        hearings.give(question, model(question))
    assert waiting == []
    return asked


def test_a_question_that_two_ask_is_handed_out_once_and_answered_to_both() -> None:
    hearings = Hearings({"a": asking([FIRST, SECOND]), "b": asking([SECOND])})
    assert hearings.new_questions() == [FIRST, SECOND]
    assert hearings.new_questions() == []
    hearings.give(SECOND, answer("second"))
    assert hearings.parsed == {"b": {"heard": [["second"]], "flags": []}}
    hearings.give(FIRST, answer("first"))
    assert hearings.parsed["a"]["heard"] == [["first", "second"]]
    assert hearings.is_over


def test_what_is_known_already_is_not_asked_again() -> None:
    hearings = Hearings({"a": asking([FIRST]), "b": asking([SECOND], [FIRST, SECOND], [THIRD])})
    hearings.new_questions()
    hearings.give(FIRST, answer("first"))
    hearings.give(SECOND, answer("second"))
    assert hearings.new_questions() == [THIRD]
    hearings.give(THIRD, answer("third"))
    assert hearings.parsed["b"]["heard"] == [["second"], ["first", "second"], ["third"]]


def test_a_question_is_handed_out_once_also_while_its_answer_is_awaited() -> None:
    hearings = Hearings({"a": asking([FIRST]), "b": asking([SECOND], [FIRST])})
    hearings.new_questions()
    hearings.give(SECOND, answer("second"))
    assert hearings.new_questions() == []
    assert not hearings.is_over
    hearings.give(FIRST, answer("first"))
    assert hearings.is_over


def test_every_request_knows_which_answers_it_used_in_the_order_of_asking() -> None:
    hearings = Hearings({"a": asking([FIRST], [THIRD]), "b": asking([SECOND, FIRST], [])})
    together(hearings, Scripted(), random.Random(0))
    assert hearings.used == {"a": [FIRST, THIRD], "b": [SECOND, FIRST]}
    assert set(hearings.answers) == {FIRST, SECOND, THIRD}


def test_one_who_asks_nothing_has_heard_enough() -> None:
    hearings = Hearings({"a": asking(), "b": asking([])})
    assert hearings.is_over
    assert hearings.parsed == {"a": {"heard": [], "flags": []}, "b": {"heard": [[]], "flags": []}}
    assert Hearings({}).is_over


def test_an_answer_that_nobody_waits_for_changes_nothing() -> None:
    hearings = Hearings({"a": asking([FIRST])})
    hearings.give(SECOND, answer("second"))
    assert not hearings.is_over
    assert hearings.parsed == {}


def test_the_language_is_asked_once_for_all_who_want_to_know() -> None:
    model = Scripted(["so<|0.50|>"])
    wanting = [("language", {}), ("transcribe", {}), ("emotion", {}), ("translate", {}), ("speaker", {})]
    hearings = Hearings({name: hearing_of((name, options), HALF_MINUTE) for name, options in wanting})
    together(hearings, model, random.Random(0))
    assert sum(str(question.prompt) == "<|startoftranscript|>" for question in model.asked) == 1


@pytest.mark.parametrize("phrase", ["so", "well then"])
def test_a_phrase_beside_a_transcript_costs_nothing(phrase: str) -> None:
    alone, both = Scripted(["so<|0.50|>"]), Scripted(["so<|0.50|>"])
    transcript = {"t": hearing_of(("transcribe", {}), HALF_MINUTE)}
    together(Hearings(transcript), alone, random.Random(0))
    located = hearing_of(("locate", {"phrase": phrase}), HALF_MINUTE)
    transcript = {"t": hearing_of(("transcribe", {}), HALF_MINUTE)}
    together(Hearings(transcript | {"l": located}), both, random.Random(0))
    assert len(both.asked) == len(alone.asked) == 3  # the language, the words, the doubt


@settings(deadline=None)  # a busy machine is not a defect
@given(model=models(), chunk=chunks(), shuffler=st.randoms(use_true_random=False))
def test_a_request_yields_the_same_alone_as_together_with_all_others(
    model: Callable[[Question], Answer], chunk: HeardChunk, shuffler: random.Random
) -> None:
    hearings = Hearings({str(place): hearing_of(one, chunk) for place, one in enumerate(REQUESTS)})
    asked = together(hearings, model, shuffler)
    alone = {str(place): listen(hearing_of(one, chunk), model) for place, one in enumerate(REQUESTS)}
    assert hearings.parsed == alone
    assert len(set(asked)) == len(asked)
    assert set(asked) == {question for used in hearings.used.values() for question in used}
