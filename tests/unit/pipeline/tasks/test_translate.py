"""Translations: every utterance by itself, out of the language that is found, and never into the same one."""

from __future__ import annotations

from support.hearings import Scripted, answer, hear

from pipeline.stitching import stitch
from pipeline.tasks.findings import Part
from pipeline.tasks.questions import HeardChunk

TWO_UTTERANCES = HeardChunk(480_000, ((16_000, 48_000), (160_000, 320_000)))
GERMAN = {"<|de|>": 0.9, "<|en|>": 0.1}


def test_every_utterance_is_heard_by_itself_and_says_where_it_lies() -> None:
    model = Scripted(["good day", " goodbye . "], GERMAN)
    parsed = hear("translate", model, TWO_UTTERANCES, target="en")
    assert [(one["text"], one["start_sample"], one["end_sample"]) for one in parsed["items"]] == [
        ("good day", 14_400, 49_600),
        ("goodbye.", 158_400, 321_600),
    ]
    assert [question.window for question in model.decoded] == [(14_400, 49_600), (158_400, 321_600)]
    assert all("<|de|><|translate|><|en|>" in str(question.prompt) for question in model.decoded)
    assert (parsed["language"], parsed["flags"]) == ("de", [])


def test_an_utterance_that_fills_the_chunk_is_asked_of_the_chunk_which_is_encoded_already() -> None:
    model = Scripted(["good day"])
    hear("translate", model, HeardChunk(32_000, ((0, 32_000),)), language="de")
    assert [question.window for question in model.asked] == [None]


def test_nothing_is_translated_into_the_language_that_is_spoken() -> None:
    model = Scripted(["guten Tag"], GERMAN)
    parsed = hear("translate", model, TWO_UTTERANCES, target="de")
    assert parsed == {"items": [], "language": "de", "flags": []}
    assert model.decoded == []


def test_a_language_that_was_only_assumed_is_flagged_on_every_translation() -> None:
    parsed = hear("translate", Scripted(["well"], {"<|unknown|>": 0.6, "<|it|>": 0.4}), TWO_UTTERANCES)
    assert parsed["language"] == "it"
    assert [one["flags"] for one in parsed["items"]] == [["unknown_language"]] * 2
    assert parsed["flags"] == ["unknown_language"]


def test_a_chinese_translation_has_no_spaces() -> None:
    (one,) = hear("translate", "你 好", language="en", target="zh")["items"]
    assert (one["text"], one["label"]) == ("你好", "zh")


def test_a_translation_that_is_no_text_is_flagged_and_says_nothing() -> None:
    assert hear("translate", "", language="de")["flags"] == ["empty"]
    assert hear("translate", "<|sil|>", language="de")["flags"] == ["stray_tags", "unparsed"]


def test_translations_stand_where_they_were_said_and_name_both_languages() -> None:
    parsed = hear("translate", Scripted([answer("good day"), ""], GERMAN), TWO_UTTERANCES)
    findings = stitch("translate", {}, [Part(0, 1, 480_000, 960_000, 480_000, 960_000, parsed=parsed)])
    (one,) = findings.annotations
    assert (one.text, one.label, one.start_sample, one.end_sample) == ("good day", "en", 494_400, 529_600)
    assert (one.data["from"], one.data["avg_logprob"]) == ("de", -0.5)
    assert findings.summary is not None
    assert (findings.summary.label, findings.summary.data) == ("en", {"utterances": 1, "characters": 8})


def test_equal_translations_one_after_the_other_were_said_twice() -> None:
    parsed = hear(
        "translate", Scripted(["yes"], GERMAN), HeardChunk(480_000, ((0, 32_000), (48_000, 80_000)))
    )
    findings = stitch("translate", {}, [Part(0, 0, 0, 480_000, 0, 480_000, parsed=parsed)])
    assert [one.text for one in findings.annotations] == ["yes", "yes"]


def test_a_recording_without_translations_has_no_summary() -> None:
    assert stitch("translate", {}, [Part(0, 0, 0, 16_000, 0, 16_000)]).summary is None
