"""The tasks: their prompts, limits, requests and how they read what the model published."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.tasks import TASKS, get_task
from pipeline.tasks.requests import request_key, validate_request
from pipeline.tasks.task import Language, UnknownTask
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import LANGUAGES, Tag

CLIP_SAMPLES = 480_000

ALL_REQUESTS = [
    ("transcribe", {}),
    ("transcribe", {"language": "zh"}),
    ("transcribe", {"language": "en", "timestamps": "word"}),
    ("transcribe", {"language": "zh", "timestamps": "word"}),
    ("caption", {}),
    ("emotion", {}),
]


def answer(
    text: str, finish: FinishReason = FinishReason.STOP, logprobs: tuple[float, ...] = (-0.5,)
) -> Answer:
    return Answer(text=text, ids=(0,) * len(logprobs), logprobs=logprobs, finish_reason=finish)


def parse(name: str, options: dict[str, Any], text: str, samples: int = CLIP_SAMPLES) -> dict[str, Any]:
    task = get_task(name)
    return task.parse(answer(text), samples, task.Options(**options))


def spans(parsed: dict[str, Any]) -> list[tuple[str, int, int]]:
    """The words with their times in centiseconds."""
    return [(w["text"], w["start_sample"] // 160, w["end_sample"] // 160) for w in parsed["words"]]


def prompt(name: str, **options: Any) -> str:
    task = get_task(name)
    return str(task.prompt(task.Options(**options)))


# Prompts: eval_audio of Qwen-Audio.


def test_the_transcript_prompts_are_the_official_ones() -> None:
    assert prompt("transcribe") == "<|startoftranscript|><|en|><|transcribe|><|en|><|notimestamps|><|wo_itn|>"
    assert (
        prompt("transcribe", language="zh", timestamps="word")
        == "<|startoftranscript|><|zh|><|transcribe|><|zh|><|timestamps|><|0.00|>"
    )
    assert prompt("transcribe", language="de", itn=True).endswith("<|de|><|notimestamps|><|itn|>")


@pytest.mark.parametrize("style", ["clotho", "audiocaps", "plain"])
def test_the_caption_prompt_is_the_official_one(style: str) -> None:
    head = "<|startofanalysis|><|unknown|><|caption|><|en|><|notimestamps|>"
    assert prompt("caption", style=style) == f"{head}<|caption_{style}|>"


def test_the_emotion_prompt_is_the_official_one() -> None:
    official = "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|emotion_recognition|>"
    assert prompt("emotion") == official
    assert prompt("emotion", language="zh").startswith("<|startofanalysis|><|zh|><|keyword|><|en|>")


# Requests.


def test_languages_are_those_of_the_model() -> None:
    assert set(get_args(Language)) == set(LANGUAGES)


def test_an_unknown_task_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownTask, match="transcribe, caption, emotion") as caught:
        get_task("transcript")
    assert caught.value.code == "unknown_task"
    assert caught.value.retryable is False


def test_defaults_are_filled_in() -> None:
    assert validate_request("transcribe", {}) == {"language": "en", "timestamps": "none", "itn": False}
    assert validate_request("caption", {}) == {"style": "clotho"}
    assert validate_request("emotion", {}) == {"language": "en"}


@pytest.mark.parametrize(
    ("task", "options", "field", "message"),
    [
        ("transcribe", {"langage": "en"}, "langage", "language, timestamps, itn"),
        ("transcribe", {"language": "nl"}, "language", "'en', 'zh'"),
        ("transcribe", {"language": "de", "timestamps": "word"}, "timestamps", "en and zh only"),
        ("transcribe", {"timestamps": "word", "itn": True}, "itn", "without word times"),
        ("transcribe", {"itn": "yes"}, "itn", "boolean"),
        ("caption", {"style": "haiku"}, "style", "'clotho'"),
        ("caption", {"language": "en"}, "language", "style"),
        ("emotion", {"language": None}, "language", "'en'"),
    ],
)
def test_a_wrong_option_is_refused_by_name(
    task: str, options: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        validate_request(task, options)
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)
    assert message in error["msg"]


def test_every_option_is_described() -> None:
    for task in TASKS.values():
        for name, schema in task.Options.model_json_schema()["properties"].items():
            assert len(schema["description"]) > 20, f"{task.name}.{name}"


def test_equal_requests_have_one_key() -> None:
    key = request_key("transcribe", {}, "mini")
    assert len(key) == 64
    assert key == request_key("transcribe", {"itn": False, "language": "en"}, "mini")
    assert key == request_key("transcribe", {"language": "en", "itn": False}, "mini")


def test_whatever_changes_an_answer_changes_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def keys() -> list[str]:
        return [
            request_key("transcribe", {}, "mini"),
            request_key("transcribe", {"itn": True}, "mini"),
            request_key("transcribe", {}, "Qwen/Qwen-Audio"),
            request_key("emotion", {}, "mini"),
        ]

    before = keys()
    monkeypatch.setattr(type(get_task("transcribe")), "prompt_version", 2)
    assert len(set(before)) == 4
    assert request_key("transcribe", {}, "mini") not in before


def test_a_key_never_changes_between_releases_by_accident() -> None:
    known = "f573f517f3e24d2e69d26ddfdf4618cff196131470e82c438a1289d5d6bb85fe"
    assert request_key("transcribe", {}, "m") == known


# Limits and where a task applies.


def test_the_limit_follows_the_seconds_heard() -> None:
    task = get_task("transcribe")
    text, words = task.Options(), task.Options(timestamps="word")
    assert task.limit(text, 30.0) == 240
    assert task.limit(words, 30.0) == 480
    assert task.limit(words, 0.03) == task.limit(text, 0.03) == 32
    assert [get_task(name).limit(get_task(name).Options(), 30.0) for name in ("caption", "emotion")] == [
        64,
        8,
    ]


def test_audio_prompt_and_answer_fit_below_the_length_the_model_was_trained_at() -> None:
    for name, options in ALL_REQUESTS:
        task = get_task(name)
        assert 752 + 16 + task.limit(task.Options(**options), 30.0) < 2_048


def test_speech_tasks_skip_chunks_without_speech_and_captions_never_do() -> None:
    applies = {name: task.applies(0, task.Options()) for name, task in TASKS.items()}
    assert applies == {"transcribe": False, "caption": True, "emotion": False}
    assert all(task.applies(1, task.Options()) for task in TASKS.values())


def test_an_answer_ends_at_the_tags_of_both_checkpoints() -> None:
    assert all({Tag.END_OF_TEXT, Tag.IM_END} <= set(task.stop) for task in TASKS.values())


# What the model published.


def test_the_official_english_transcript_is_read_as_it_stands() -> None:
    said = "mister quilting is the apostle of the middle classes and we are glad to welcome his gospel"
    parsed = parse("transcribe", {}, said)
    assert parsed == {"text": said, "words": [], "avg_logprob": -0.5, "flags": []}


def test_text_is_settled_as_in_the_official_evaluation() -> None:
    assert parse("transcribe", {}, " so ,  he said :<|en|>yes .")["text"] == "so, he said: yes."
    assert parse("transcribe", {"language": "zh"}, "对了 我还 想提议")["text"] == "对了我还想提议"


def test_the_official_chinese_word_times_are_read() -> None:
    published = "<|sil|><|0.54|>面<|0.86|>条<|1.17|>机<|1.46|><|sil|><|2.01|>"
    parsed = parse("transcribe", {"language": "zh", "timestamps": "word"}, published, 32_160)
    assert spans(parsed) == [("面", 54, 86), ("条", 86, 117), ("机", 117, 146)]
    assert parsed["text"] == "面条机"
    assert parsed["flags"] == []


def test_a_leading_zero_stamp_from_the_prompt_is_not_counted_twice() -> None:
    with_zero = "<|0.00|><|sil|><|0.54|>面<|0.86|>"
    options = {"language": "zh", "timestamps": "word"}
    assert parse("transcribe", options, with_zero) == parse("transcribe", options, with_zero[8:])


def test_english_word_times_are_read() -> None:
    text = "so<|0.30|><|sil|><|1.00|> welcome<|1.52|> ,<|1.60|> gospel<|2.05|>.<|2.05|>"
    parsed = parse("transcribe", {"timestamps": "word"}, text)
    assert spans(parsed) == [("so", 0, 30), ("welcome,", 100, 152), ("gospel.", 160, 205)]
    assert parsed["text"] == "so welcome, gospel."
    assert parsed["flags"] == []


@pytest.mark.parametrize(
    ("text", "samples", "words"),
    [
        ("a<|1.00|>b", 480_000, [("a", 0, 100), ("b", 100, 130)]),  # cut before its end stamp
        ("a<|1.00|>b", 17_600, [("a", 0, 100), ("b", 100, 110)]),  # and the clip ends sooner
        ("ab cd<|1.00|>", 480_000, [("ab", 0, 50), ("cd", 50, 100)]),  # two words share a slot
        (
            "a<|1.00|><|1.20|>b<|2.00|>",
            480_000,
            [("a", 0, 100), ("b", 120, 200)],
        ),  # a stamp for start and end
        ("a<|1.00|>b<|9.99|>c<|2.00|>", 480_000, [("a", 0, 100), ("b", 100, 150), ("c", 150, 200)]),
        ("a<|2.00|>b<|1.00|>c<|3.00|>", 480_000, [("a", 0, 50), ("b", 50, 100), ("c", 100, 300)]),
        ("a<|1.00|>b<|2.00|>", 24_000, [("a", 0, 100), ("b", 100, 150)]),  # past the end of the clip
        ("<|sil|>a<|1.00|>", 480_000, [("a", 0, 100)]),  # silence and a word at once
    ],
)
def test_a_broken_pattern_is_mended_and_flagged(
    text: str, samples: int, words: list[tuple[str, int, int]]
) -> None:
    parsed = parse("transcribe", {"timestamps": "word"}, text, samples)
    assert spans(parsed) == words
    assert parsed["flags"] == ["repaired_times"]


def test_a_stamp_within_a_frame_of_the_end_is_only_rounding() -> None:
    parsed = parse("transcribe", {"timestamps": "word"}, "a<|1.03|>", 16_000)
    assert parsed["words"][0]["end_sample"] == 16_000
    assert parsed["flags"] == []


def test_text_without_times_keeps_its_text() -> None:
    parsed = parse("transcribe", {"timestamps": "word"}, "glad to welcome")
    assert (parsed["text"], parsed["words"]) == ("glad to welcome", [])
    assert parsed["flags"] == ["missing_times"]


def test_silence_with_times_is_an_empty_transcript() -> None:
    parsed = parse("transcribe", {"timestamps": "word"}, "<|sil|><|4.00|>")
    assert (parsed["text"], parsed["words"], parsed["flags"]) == ("", [], ["empty"])


def test_an_emotion_is_a_label_and_what_was_said() -> None:
    parsed = parse("emotion", {}, " Happy. ")
    assert (parsed["label"], parsed["text"], parsed["flags"]) == ("happy", "Happy.", [])


def test_a_caption_is_a_sentence() -> None:
    assert parse("caption", {}, " Glass breaks . ")["text"] == "Glass breaks."


@pytest.mark.parametrize("name", list(TASKS))
def test_an_answer_without_words_is_flagged(name: str) -> None:
    assert parse(name, {}, "")["flags"] == ["empty"]
    assert parse(name, {}, "...")["flags"] == ["unparsed"]
    assert parse(name, {}, "<|pitch|>")["flags"] == ["stray_tags", "unparsed"]


@pytest.mark.parametrize(
    ("finish", "flag"),
    [
        (FinishReason.LENGTH, "cut_by_limit"),
        (FinishReason.LOOP, "loop"),
        (FinishReason.DEADLINE, "cut_by_deadline"),
        (FinishReason.CANCELLED, "cancelled"),
    ],
)
@pytest.mark.parametrize("name", list(TASKS))
def test_an_answer_that_was_cut_says_so(name: str, finish: FinishReason, flag: str) -> None:
    task = get_task(name)
    assert task.parse(answer("well", finish), CLIP_SAMPLES, task.Options())["flags"] == [flag]


# Whatever the model says.

TAG_TEXTS = [str(tag) for tag in Tag] + [
    "[[[AUDIO:modality]]]",
    "<|0.00|>",
    "<|30.00|>",
    "<|30.01|>",
    "<|7|>",
]
anything = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=())),
    st.lists(
        st.one_of(
            st.sampled_from(TAG_TEXTS),
            st.integers(0, 3_100).map(lambda value: f"<|{value / 100:.2f}|>"),
            st.sampled_from([" and", "面", ",", "|>", "<|", "<|0.5", "\x00", "\ud800", " "]),
            st.text(max_size=4),
        ),
        max_size=40,
    ).map("".join),
)


@settings(deadline=None)  # a busy machine is not a defect
@given(
    request=st.sampled_from(ALL_REQUESTS),
    text=anything,
    finish=st.sampled_from(FinishReason),
    samples=st.integers(0, CLIP_SAMPLES),
    logprobs=st.lists(st.floats(), max_size=3).map(tuple),
)
def test_no_answer_breaks_a_parser(
    request: tuple[str, dict[str, Any]],
    text: str,
    finish: FinishReason,
    samples: int,
    logprobs: tuple[float, ...],
) -> None:
    name, options = request
    task = get_task(name)
    parsed = task.parse(answer(text, finish, logprobs), samples, task.Options(**options))
    stored = json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode("utf-8")
    assert json.loads(stored) == parsed
    assert b"\\u0000" not in stored, "PostgreSQL refuses NUL in JSON"
    assert all(isinstance(flag, str) for flag in parsed["flags"])
    times = [time for word in parsed.get("words", []) for time in (word["start_sample"], word["end_sample"])]
    assert times == sorted(times)
    assert all(0 <= time <= samples for time in times)


@settings(deadline=None)  # a busy machine is not a defect
@given(
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from(["well", "glad", None])), min_size=1, max_size=40)
)
def test_published_patterns_come_back_exactly(steps: list[tuple[int, str | None]]) -> None:
    clock, text, expected = 0, "", []
    for length, word in steps:
        if word is not None:
            expected.append((word, clock, clock + length))
        clock += length
        text += f"{word or '<|sil|>'}<|{clock / 100:.2f}|>"
    parsed = parse("transcribe", {"timestamps": "word"}, text)
    assert spans(parsed) == expected
    assert "repaired_times" not in parsed["flags"]


@settings(deadline=None)  # a busy machine is not a defect
@given(
    st.lists(
        st.one_of(
            st.integers(0, 3_000).map(lambda value: f"<|{value / 100:.2f}|>"),
            st.sampled_from([" one", " two", "<|sil|>"]),
        ),
        max_size=30,
    )
)
def test_no_word_is_lost_in_mending(pieces: list[str]) -> None:
    parsed = parse("transcribe", {"timestamps": "word"}, "".join(pieces))
    said = [piece.strip() for piece in pieces if piece.startswith(" ")]
    assert parsed["text"].split() == said
