"""Voice noises: asked for only where the model hears a voice and no words, and only VocalSound's labels count."""

from __future__ import annotations

import math
from functools import partial

import pytest
from support.hearings import Scripted, answer, hear, recording

from pipeline.tasks.vocal import LABELS
from qwen_audio.answers import Answer, FinishReason

A_COUGH = {"yes": 0.9, "no": 0.1, "<|sil|>": 0.8}


@pytest.mark.parametrize("label", LABELS)
def test_a_voice_without_words_is_asked_what_it_does(label: str) -> None:
    parsed = hear("vocal", Scripted([f" {label.capitalize()}."], A_COUGH))
    (one,) = parsed["items"]
    assert (one["label"], one["flags"]) == (label, [])
    assert (parsed["voice_prob"], parsed["no_words_prob"]) == (0.9, 0.8)


@pytest.mark.parametrize(
    "likely",
    [
        {"yes": 0.4, "no": 0.6, "<|sil|>": 0.8},  # no voice
        {"yes": 0.5, "no": 0.5, "<|sil|>": 0.8},  # as likely as not
        {"yes": 0.9, "no": 0.1, "<|sil|>": 0.2},  # words
        {"yes": 0.9, "no": 0.1, "<|sil|>": 0.5},  # words as likely as not
    ],
)
def test_where_there_is_no_voice_or_there_are_words_nothing_is_asked_and_the_doubts_are_kept(
    likely: dict[str, float],
) -> None:
    model = Scripted(["cough"], likely)
    parsed = hear("vocal", model)
    assert model.decoded == []
    assert parsed == {
        "items": [],
        "voice_prob": likely["yes"],
        "no_words_prob": likely["<|sil|>"],
        "flags": [],
    }


def test_always_asks_behind_a_closed_gate_too() -> None:
    model = Scripted(["cough"], {"no": 1.0})
    (one,) = hear("vocal", model, always=True)["items"]
    assert one["label"] == "cough"


def test_a_model_that_cannot_tell_opens_nothing_and_no_doubt_is_made_up() -> None:
    lost = Answer("", (), (), FinishReason.SCORED, {"yes": math.nan, "<|sil|>": math.nan})
    parsed = hear("vocal", lambda asked: lost if asked.candidates else answer("cough"))
    assert parsed == {"items": [], "voice_prob": 0.0, "no_words_prob": None, "flags": []}


def test_a_word_that_is_no_label_is_kept_as_text_and_flagged() -> None:
    (one,) = hear("vocal", Scripted(["singing"], A_COUGH))["items"]
    assert (one["text"], one["label"], one["flags"]) == ("singing", None, ["unknown_label"])


def test_an_answer_without_words_is_flagged() -> None:
    assert hear("vocal", Scripted([""], A_COUGH))["flags"] == ["empty"]
    assert hear("vocal", Scripted(["..."], A_COUGH))["flags"] == ["unparsed"]
    assert hear("vocal", Scripted(["<|pitch|>"], A_COUGH))["flags"] == ["stray_tags", "unparsed"]


def test_a_noise_that_goes_on_is_one_finding_and_words_that_are_no_label_have_no_vote() -> None:
    coughing = partial(Scripted, likely=A_COUGH)
    findings = recording("vocal", "laughter", "laughter", "singing", "cough", model=coughing)
    assert [(one.label, one.text) for one in findings.annotations] == [
        ("laughter", "laughter"),
        (None, "singing"),
        ("cough", "cough"),
    ]
    assert findings.summary is not None
    assert (findings.summary.label, findings.summary.confidence) == ("laughter", 0.6667)
