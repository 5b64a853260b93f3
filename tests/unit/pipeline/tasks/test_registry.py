"""The registry of tasks, their requests, and the keys that make equal requests one."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from pipeline.tasks import TASKS, get_task
from pipeline.tasks.questions import STOP_TAGS
from pipeline.tasks.requests import request_key, validate_request
from pipeline.tasks.task import AnyLanguage, Language, ModelKind, UnknownTask
from qwen_audio.tags import LANGUAGES, Tag

WHAT_NEEDS_OPTIONS = {"ask": {"question": "is it loud?"}, "locate": {"phrase": "thank you"}}
ABOUT_SPEECH = {"transcribe", "translate", "language", "emotion", "locate", "speaker", "keywords", "entities"}
EXPERIMENTAL = {"events", "speaker", "keywords", "entities"}


def options_of(name: str) -> Any:
    return get_task(name).Options(**WHAT_NEEDS_OPTIONS.get(name, {}))


def test_there_are_fourteen_tasks_under_their_own_names() -> None:
    assert {name: task.name for name, task in TASKS.items()} == {name: name for name in TASKS}
    assert set(TASKS) == ABOUT_SPEECH | EXPERIMENTAL | {"caption", "scene", "vocal", "music", "ask"}


def test_languages_are_those_of_the_model() -> None:
    assert set(get_args(Language)) == set(LANGUAGES)
    assert set(get_args(AnyLanguage)) == {"auto", *LANGUAGES}


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownTask, match="transcribe, translate, language, caption") as caught:
        get_task("transcript")
    assert all(name in str(caught.value) for name in TASKS)
    assert caught.value.code == "unknown_task"
    assert caught.value.retryable is False


def test_tasks_without_a_published_prompt_are_marked_say_so_and_come_last() -> None:
    assert {name for name, task in TASKS.items() if task.is_experimental} == EXPERIMENTAL
    assert list(TASKS)[-4:] == ["events", "speaker", "keywords", "entities"]
    assert all("Experimental" in TASKS[name].description for name in EXPERIMENTAL)


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_tells_people_what_it_does_what_it_costs_and_shows_options_that_it_takes(
    name: str,
) -> None:
    task = TASKS[name]
    assert task.title
    assert len(task.description) > 40
    assert task.cost
    assert task.model_kind is ModelKind.BASE
    shown = validate_request(name, {**WHAT_NEEDS_OPTIONS.get(name, {}), **task.example})
    assert set(shown) == set(task.Options.model_fields)


def test_defaults_are_filled_in() -> None:
    assert {name: validate_request(name, WHAT_NEEDS_OPTIONS.get(name, {})) for name in TASKS} == {
        "transcribe": {"language": "auto", "timestamps": "word", "itn": False},
        "translate": {"target": "en", "language": "auto"},
        "language": {},
        "caption": {"style": "clotho"},
        "scene": {},
        "emotion": {"language": "auto", "per": "chunk"},
        "vocal": {"always": False},
        "music": {"always": False, "description": False},
        "ask": {
            "question": "is it loud?",
            "choices": [],
            "form": "closed",
            "follow_ups": [],
            "references": [],
        },
        "locate": {"phrase": "thank you", "language": "auto", "by": "words"},
        "events": {},
        "speaker": {"language": "auto"},
        "keywords": {"language": "auto"},
        "entities": {"language": "auto"},
    }


@pytest.mark.parametrize(
    ("task", "options", "field", "message"),
    [
        ("transcribe", {"langage": "en"}, ("langage",), "language, timestamps, itn"),
        ("transcribe", {"language": "nl"}, ("language",), "'en', 'zh'"),
        ("transcribe", {"timestamps": "words"}, ("timestamps",), "'word', 'segment' or 'none'"),
        ("transcribe", {"timestamps": "word", "itn": True}, ("itn",), "without word times"),
        ("transcribe", {"itn": True}, ("itn",), "use timestamps 'segment' or 'none'"),
        ("transcribe", {"timestamps": "none", "itn": "yes"}, ("itn",), "boolean"),
        ("translate", {"target": "auto"}, ("target",), "'en', 'zh'"),
        ("translate", {"target": "nl"}, ("target",), "'en', 'zh'"),
        ("translate", {"language": "en"}, ("language",), "nothing to translate from en into en"),
        (
            "translate",
            {"language": "de", "target": "de"},
            ("language",),
            "nothing to translate from de into de",
        ),
        ("caption", {"style": "haiku"}, ("style",), "'clotho'"),
        ("caption", {"language": "en"}, ("language",), "style"),
        ("emotion", {"language": None}, ("language",), "'en'"),
        ("emotion", {"per": "word"}, ("per",), "'chunk' or 'utterance'"),
        ("vocal", {"always": 1}, ("always",), "boolean"),
        ("music", {"alway": True}, ("alway",), "always, description"),
        ("ask", {}, ("question",), "required"),
        ("ask", {"question": "is it loud?", "choices": ["yes", 1]}, ("choices", 1), "string"),
        ("locate", {}, ("phrase",), "required"),
        ("speaker", {"language": "nl"}, ("language",), "'en', 'zh'"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    task: str, options: dict[str, Any], field: tuple[str | int, ...], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_request(task, options)
    (error,) = caught.value.errors()
    assert error["loc"] == field
    assert message in error["msg"]


def test_a_language_without_word_times_is_no_reason_to_refuse_a_transcript() -> None:
    """It is often found out only by listening; the answer then says what it could not give."""
    asked = validate_request("transcribe", {"language": "de", "timestamps": "word"})
    assert (asked["language"], asked["timestamps"]) == ("de", "word")


def test_every_option_is_described() -> None:
    for task in TASKS.values():
        for name, schema in task.Options.model_json_schema().get("properties", {}).items():
            assert len(schema["description"]) > 20, f"{task.name}.{name}"


def test_equal_requests_have_one_key() -> None:
    key = request_key("transcribe", {}, "mini")
    assert len(key) == 64
    assert key == request_key("transcribe", {"itn": False, "language": "auto"}, "mini")
    assert key == request_key("transcribe", {"language": "auto", "itn": False}, "mini")
    asked = request_key("ask", {"question": "is it loud?"}, "mini")
    assert asked == request_key("ask", {"question": " is\tit \u200bloud?\n"}, "mini")


def test_whatever_changes_an_answer_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[str]:
        return [
            request_key("transcribe", {}, "mini"),
            request_key("transcribe", {"itn": True, "timestamps": "none"}, "mini"),
            request_key("transcribe", {}, "Qwen/Qwen-Audio"),
            request_key("emotion", {}, "mini"),
            request_key("ask", {"question": "is it loud?"}, "mini"),
            request_key("ask", {"question": "is it loud?", "choices": ["yes", "no"]}, "mini"),
            request_key("ask", {"question": "is it loud?", "choices": ["no", "yes"]}, "mini"),
        ]

    before = keys()
    monkeypatch.setattr(type(get_task("transcribe")), "prompt_version", 99)
    assert len(set(before)) == 7
    assert request_key("transcribe", {}, "mini") not in before


def test_a_key_never_changes_between_releases_by_accident() -> None:
    known = "9cce0a4203150258c032e1f7060c0c74701a1ef1469e2a34089b79ff6a9b7917"
    assert request_key("transcribe", {}, "m") == known


def test_speech_tasks_skip_chunks_without_speech_and_tasks_about_sound_never_do() -> None:
    assert {name for name, task in TASKS.items() if not task.applies(0, options_of(name))} == ABOUT_SPEECH
    assert all(task.applies(1, options_of(name)) for name, task in TASKS.items())


def test_an_answer_ends_at_the_tags_of_both_checkpoints() -> None:
    assert set(STOP_TAGS) == {Tag.END_OF_TEXT, Tag.IM_START, Tag.IM_END}
