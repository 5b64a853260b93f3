"""Captions, scenes, emotions and events: a few words about a chunk, joined and counted over the recording."""

from __future__ import annotations

from typing import Any

import pytest
from support.hearings import Scripted, answer, hear, recording

from pipeline.tasks import get_task
from pipeline.tasks.findings import Findings
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.questions import HeardChunk

WORDS_ABOUT_SOUND = ["caption", "scene", "emotion", "events", "speaker", "keywords", "entities"]
SECOND = 16_000


def found(findings: Findings) -> list[tuple[str | None, int, int]]:
    return [(one.label, one.start_sample // SECOND, one.end_sample // SECOND) for one in findings.annotations]


def only(parsed: Parsed) -> dict[str, Any]:
    (one,) = parsed["items"]
    return one


@pytest.mark.parametrize("name", ["caption", "scene", "emotion"])
def test_an_answer_without_words_is_flagged(name: str) -> None:
    assert hear(name, "")["flags"] == ["empty"]
    assert hear(name, "...")["flags"] == ["unparsed"]
    assert hear(name, "<|pitch|>")["flags"] == ["stray_tags", "unparsed"]


@pytest.mark.parametrize("name", ["events", "speaker", "keywords", "entities"])
def test_an_answer_that_lists_nothing_is_flagged_and_has_no_items(name: str) -> None:
    assert hear(name, "") == {"items": [], "flags": ["empty"]}
    assert hear(name, " , —,")["items"] == []
    assert hear(name, "...")["flags"] == ["unparsed"]
    assert hear(name, "<|pitch|>")["flags"] == ["stray_tags", "unparsed"]


@pytest.mark.parametrize("name", WORDS_ABOUT_SOUND)
def test_words_are_kept_beside_tags_that_stray(name: str) -> None:
    parsed = hear(name, "<|pitch|>Rain<|en|>")
    assert (only(parsed)["text"], parsed["flags"]) == ("Rain", ["stray_tags"])


def test_a_caption_is_a_sentence() -> None:
    assert only(hear("caption", " Glass breaks . "))["text"] == "Glass breaks."
    assert only(hear("caption", "This is a sound effect of breaking glass."))["label"] is None


def test_an_emotion_is_a_label_and_what_was_said() -> None:
    parsed = hear("emotion", " Happy. ")
    assert (only(parsed)["label"], only(parsed)["text"], parsed["flags"]) == ("happy", "Happy.", [])


def test_a_scene_is_named_as_said_and_as_a_label() -> None:
    parsed = hear("scene", answer("Metro Station.", logprobs=(-0.25, -0.75)))
    assert (only(parsed)["label"], only(parsed)["text"]) == ("metro station", "Metro Station.")
    assert only(parsed)["avg_logprob"] == -0.5


@pytest.mark.parametrize(("name", "said"), [("emotion", "Sad."), ("caption", "Rain."), ("scene", "a park")])
def test_an_answer_about_a_whole_clip_is_read_alike_for_evaluation(name: str, said: str) -> None:
    task = get_task(name)
    assert task.parse(answer(said), 480_000, task.Options()) == hear(name, said)


def test_the_emotion_is_asked_for_in_the_language_that_is_found() -> None:
    model = Scripted(["happy"], {"<|zh|>": 0.9})
    assert hear("emotion", model)["flags"] == []
    assert str(model.decoded[0].prompt).startswith("<|startofanalysis|><|zh|>")


@pytest.mark.parametrize("name", ["emotion", "speaker", "keywords"])
def test_a_language_that_was_only_assumed_is_flagged(name: str) -> None:
    model = Scripted(["happy"], {"<|unknown|>": 0.6, "<|it|>": 0.4})
    assert hear(name, model)["flags"] == ["unknown_language"]
    assert "<|it|>" in str(model.decoded[0].prompt)


def test_each_utterance_has_its_emotion_where_asked_for() -> None:
    chunk = HeardChunk(480_000, ((0, 48_000), (160_000, 320_000)))
    model = Scripted(["happy", "sad"])
    parsed = hear("emotion", model, chunk, per="utterance")
    assert [(one["label"], one["start_sample"], one["end_sample"]) for one in parsed["items"]] == [
        ("happy", 0, 49_600),
        ("sad", 158_400, 321_600),
    ]
    assert [question.window for question in model.decoded] == [(0, 49_600), (158_400, 321_600)]


def test_emotions_of_chunks_are_joined_where_they_agree_and_those_of_utterances_stay_apart() -> None:
    assert found(recording("emotion", "sad", "sad", "happy")) == [("sad", 0, 20), ("happy", 20, 30)]
    assert found(recording("emotion", "sad", "sad", per="utterance")) == [("sad", 0, 10), ("sad", 10, 20)]


@pytest.mark.parametrize("name", ["emotion", "scene", "speaker"])
def test_the_recording_has_the_label_that_lasts_longest(name: str) -> None:
    summary = recording(name, "calm", "loud", None, "loud", "").summary
    assert summary is not None
    assert (summary.label, summary.confidence) == ("loud", 0.6667)
    assert summary.data == {"votes": {"calm": 0.3333, "loud": 0.6667}}


def test_a_caption_that_lasts_is_one_finding_and_knows_its_style() -> None:
    findings = recording("caption", "Rain falls.", "Rain falls.", "A door slams.", style="plain")
    assert [one.text for one in findings.annotations] == ["Rain falls.", "A door slams."]
    assert all(one.data["style"] == "plain" for one in findings.annotations)
    assert findings.summary is None


# Lists.


def test_events_are_listed_once_each_in_the_order_they_were_named() -> None:
    parsed = hear("events", "Rain, Bell , rain，Bell,")
    assert [(one["text"], one["label"]) for one in parsed["items"]] == [
        ("Rain", "rain"),
        ("Bell", "bell"),
    ]


@pytest.mark.parametrize(("name", "most"), [("events", 16), ("keywords", 32)])
def test_a_list_that_got_out_of_hand_is_cut(name: str, most: int) -> None:
    said = ", ".join(f"thing {number}" for number in range(50))
    assert [one["text"] for one in hear(name, said)["items"]] == [f"thing {n}" for n in range(most)]


def test_an_event_that_goes_on_is_one_and_the_recording_lists_what_lasts_longest_first() -> None:
    findings = recording("events", "Bell, Rain", "Rain", None, "Rain")
    assert found(findings) == [("bell", 0, 10), ("rain", 0, 20), ("rain", 30, 40)]
    assert findings.summary is not None
    assert (findings.summary.label, findings.summary.text) == ("rain", "rain, bell")
    assert findings.summary.data == {"lasting_ms": {"bell": 10_000, "rain": 30_000}}
    assert recording("events", "").summary is None


def test_answers_about_chinese_speech_are_english_and_keep_their_spaces() -> None:
    assert only(hear("speaker", "a young woman", language="zh"))["label"] == "a young woman"


def test_keywords_and_names_are_told_apart_by_commas_of_either_script() -> None:
    parsed = hear("entities", "Shelley, 重庆，Qwen、Shelley", language="zh")
    assert [one["text"] for one in parsed["items"]] == ["Shelley", "重庆", "Qwen"]


def test_who_speaks_is_one_text_with_its_commas() -> None:
    assert only(hear("speaker", "a woman, young"))["text"] == "a woman, young"
