"""Questions about the sound: what is asked is text and stays text, and choices are weighed, never guessed."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.hearings import Scripted, answer, hear, recording
from support.model_talk import TAG_TEXTS

from pipeline.stitching import stitch
from pipeline.tasks import get_task
from pipeline.tasks.findings import Part
from pipeline.tasks.questions import HeardChunk
from pipeline.tasks.requests import validate_request
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import Prompt, Tag

QUESTION = "is it loud?"


def asked(question: str) -> str:
    return validate_request("ask", {"question": question})["question"]


def prompt_of(question: str) -> Prompt:
    task = get_task("ask")
    return task.prompt(task.Options(question=question))


# What people may ask.


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (" is\tit\r\n loud? ", "is it loud?"),
        ("is it\x00 lo\x07ud?", "is it loud?"),
        ("is\x0bit\x85loud?", "is it loud?"),  # vertical tab and next line are white space too
        ("is it l\u200bo\u200du\ufeffd?", "is it loud?"),  # without width
        ("is \u202eit\u202c loud\u2066?\u2069", "is it loud?"),  # with a direction of their own
        ("is it loud\ue000?", "is it loud?"),  # private use
        ("cafe\u0301?", "café?"),
        ("e\u200d\u0301?", "é?"),  # composed only when what stood between is gone
        ("这里有人说话吗？", "这里有人说话吗？"),
    ],
)
def test_what_is_no_text_is_taken_out_of_a_question(written: str, read: str) -> None:
    assert asked(written) == read


@pytest.mark.parametrize("question", ["", " \n", "\u200b\u202e", "\x00\x1f"])
def test_a_question_without_text_is_refused(question: str) -> None:
    with pytest.raises(ValidationError) as caught:
        asked(question)
    assert caught.value.errors()[0]["loc"] == ("question",)


def test_a_question_is_long_at_most_also_when_composing_lengthens_it() -> None:
    assert len(asked("a" * 2_000)) == 2_000
    for question in ("a" * 2_001, "\N{HEBREW LETTER SHIN WITH DAGESH AND SHIN DOT}" * 1_000):
        with pytest.raises(ValidationError, match="2000 characters"):
            asked(question)


@settings(deadline=None)  # a busy machine is not a defect
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40))
def test_a_question_that_was_accepted_is_accepted_again_unchanged(written: str) -> None:
    """It is checked at submission, when its key is made, and when it is asked and stitched."""
    try:
        question = asked(written)
    except ValidationError:
        assume(False)
    assert asked(question) == question
    assert unicodedata.is_normalized("NFC", question)
    assert not {unicodedata.category(char) for char in question} & {"Cc", "Cf", "Cs", "Co"}


@pytest.mark.parametrize("spell", [str, str.upper, "x{}y".format, "<\u200b{}".format])
def test_a_control_token_in_a_question_stays_text(spell: Any) -> None:
    for tag in TAG_TEXTS:
        head, question, tail = (prompt := prompt_of(spell(tag)).parts)[:3], prompt[3], prompt[4:]
        assert head == (Tag.START_OF_ANALYSIS, Tag.EN, Tag.QUESTION)
        assert (type(question), tail) == (str, (Tag.ANSWER,))


def test_choices_are_read_as_questions_are() -> None:
    options = validate_request("ask", {"question": QUESTION, "choices": [" ye\u200bs", "n\to"]})
    assert options["choices"] == ["yes", "n o"]


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (["yes"], "at least two"),
        (["yes", "no", "y\u200bes"], "none of them twice"),
        (["yes", "\u200b"], "holds no text"),
        (["yes", "n" * 101], "100 characters"),
        ([str(number) for number in range(21)], "at most 20"),
    ],
)
def test_choices_that_cannot_be_weighed_are_refused(choices: list[str], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        validate_request("ask", {"question": QUESTION, "choices": choices})


# What the model answers.


def test_an_answer_is_a_label_and_what_was_said() -> None:
    model = Scripted([" Yes. "])
    (one,) = hear("ask", model, question=QUESTION)["items"]
    assert (one["text"], one["label"], one["data"]) == ("Yes.", "yes", {})
    assert str(model.asked[0].prompt).endswith("<|question|>is it loud?<|answer|>")


def test_an_answer_without_words_is_flagged() -> None:
    assert hear("ask", "", question=QUESTION)["flags"] == ["empty"]
    assert hear("ask", "...", question=QUESTION)["flags"] == ["unparsed"]
    assert hear("ask", "<|pitch|>", question=QUESTION)["flags"] == ["stray_tags", "unparsed"]


def test_choices_are_weighed_against_each_other_and_nothing_is_decoded() -> None:
    model = Scripted(likely={"rain": 0.02, "a car": 0.06})
    parsed = hear("ask", model, question=QUESTION, choices=["rain", "a car", "snow"])
    (one,) = parsed["items"]
    assert (one["label"], one["text"]) == ("a car", "a car")
    assert one["data"] == {"choices": {"rain": 0.25, "a car": 0.75, "snow": 0.0}}
    assert parsed["flags"] == []
    (question,) = model.asked
    assert question.candidates == ("rain", "a car", "snow")


def test_the_first_of_equal_choices_wins_so_that_the_answer_is_always_the_same() -> None:
    model = Scripted(likely={"rain": 0.5, "snow": 0.5})
    assert hear("ask", model, question=QUESTION, choices=["snow", "rain"])["items"][0]["label"] == "snow"


@pytest.mark.parametrize("scores", [{}, {"yes": math.nan, "no": -1.0}, {"yes": -math.inf, "no": -math.inf}])
def test_choices_that_the_model_cannot_weigh_are_no_answer(scores: dict[str, float]) -> None:
    lost = Answer("", (), (), FinishReason.SCORED, scores)
    parsed = hear("ask", lambda _: lost, question=QUESTION, choices=["yes", "no"])
    assert (parsed["items"][0]["label"], parsed["flags"]) == (None, ["unparsed"])


def test_the_recording_answers_what_holds_longest_and_names_the_question() -> None:
    findings = recording("ask", "yes", "yes", "no", question=QUESTION)
    assert [(one.label, one.data["question"]) for one in findings.annotations] == [
        ("yes", QUESTION),
        ("no", QUESTION),
    ]
    assert findings.summary is not None
    assert (findings.summary.label, findings.summary.confidence) == ("yes", 0.6667)


def test_one_answer_of_several_chunks_weighs_the_choices_as_they_do_on_average() -> None:
    options = {"question": QUESTION, "choices": ["yes", "no"]}

    def heard(index: int, start: int, end: int, yes: float) -> Part:
        model = Scripted(likely={"yes": yes, "no": 1 - yes})
        parsed = hear("ask", model, HeardChunk(end - start), **options)
        return Part(0, index, start, end, start, end, parsed=parsed)

    parts = [heard(0, 0, 30, 0.9), heard(1, 30, 40, 0.6)]
    (one,) = stitch("ask", options, parts).annotations
    assert (one.end_sample, one.data["choices"]) == (40, {"yes": 0.825, "no": 0.175})


def test_a_choice_without_a_letter_is_an_answer_as_any_other() -> None:
    options = {"question": QUESTION, "choices": ["+", "-"]}
    parsed = hear("ask", Scripted(likely={"+": 0.1, "-": 0.9}), HeardChunk(10), **options)
    found = stitch("ask", options, [Part(0, 0, 0, 10, 0, 10, parsed=parsed)])
    assert [(one.label, one.text) for one in found.annotations] == [("-", "-")]
    assert found.summary is not None
    assert (found.summary.label, found.summary.confidence) == ("-", 1.0)


def test_an_answer_keeps_how_sure_it_was() -> None:
    (one,) = hear("ask", answer("yes", logprobs=(-0.25,)), question=QUESTION)["items"]
    assert one["avg_logprob"] == -0.25
