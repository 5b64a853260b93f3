"""Guards: loops and invented words are told from speech by the thresholds of openai/whisper."""

from __future__ import annotations

import zlib

import pytest
from support.hearings import answer

from pipeline.tasks.guards import (
    MAX_COMPRESSION_RATIO,
    MIN_DISTINCT_RUNS,
    compression_ratio,
    distinct_runs,
    is_invented,
    is_loop,
)
from pipeline.tasks.text import has_control_token, has_letters, join_words, readable
from qwen_audio.answers import FinishReason

SPOKEN = "mister quilting is the apostle of the middle classes and we are glad to welcome his gospel"


def test_the_compression_ratio_is_bytes_of_text_for_each_byte_that_zlib_needs() -> None:
    said = "面条机" * 9
    assert compression_ratio(said) == round(81 / len(zlib.compress(said.encode())), 3)
    assert compression_ratio("") is None


def test_speech_is_no_loop_and_what_repeats_itself_is() -> None:
    ratio = compression_ratio(SPOKEN)
    assert ratio is not None
    assert ratio < MAX_COMPRESSION_RATIO
    assert not is_loop(answer(SPOKEN), SPOKEN)
    assert is_loop(answer(""), "and we are glad " * 10)
    assert is_loop(answer("", FinishReason.LOOP), SPOKEN)


def test_a_short_text_that_repeats_itself_may_be_what_was_said() -> None:
    assert not is_loop(answer(""), "no " * 15)
    assert is_loop(answer(""), "no " * 30)


def test_a_report_in_few_words_is_no_loop_though_it_compresses_like_one() -> None:
    numbers = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    drawn = [numbers[(7 * place * place + 3 * place) % 10] for place in range(12)]
    said = " ".join(f"my number is {one} {two} please call me back" for one in drawn for two in drawn[:3])
    ratio = compression_ratio(said)
    assert ratio is not None
    assert ratio > MAX_COMPRESSION_RATIO
    assert is_loop(answer(""), said)  # the same sentence 36 times
    report = " ".join(
        f"{drawn[place % 12]} {numbers[place % 7]} {numbers[place % 10]}" for place in range(40)
    )
    ratio = compression_ratio(report)
    assert ratio is not None
    assert ratio > MAX_COMPRESSION_RATIO
    assert distinct_runs(report) >= MIN_DISTINCT_RUNS
    assert not is_loop(answer(""), report)


def test_runs_are_counted_by_words_and_where_there_are_no_spaces_by_characters() -> None:
    assert distinct_runs("one two three") == 1.0
    assert distinct_runs("a b c d a b c d") == 4 / 5
    assert distinct_runs("你好" * 10) == 2 / 17
    assert is_loop(answer(""), "谢谢你的观看" * 12)
    assert is_loop(answer(""), "ありがとうございます" * 12)
    assert is_loop(answer(""), "ハイ、ハイ、" * 20)
    japanese = (
        "本日はお電話いただきありがとうございます。担当の者におつなぎしますので、そのままお待ちください。"
    )
    assert distinct_runs(japanese) >= MIN_DISTINCT_RUNS
    assert not is_loop(answer(""), japanese)


@pytest.mark.parametrize(
    ("no_speech", "logprobs", "invented"),
    [
        (0.61, (-1.01,), True),
        (0.6, (-1.01,), False),
        (0.61, (-1.0,), False),
        (None, (-9.0,), False),
        (0.9, (), False),
        (0.9, (float("nan"),), False),
        (0.9, (float("-inf"),), False),
    ],
)
def test_words_are_invented_where_both_the_ear_and_the_mouth_doubt(
    no_speech: float | None, logprobs: tuple[float, ...], invented: bool
) -> None:
    assert is_invented(answer("thank you", logprobs=logprobs), no_speech) is invented


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("  so\t it ,goes .", "en", "so it,goes."),
        ("a<|en|>b</audio>c[[[AUDIO:modality]]]d", "en", "a b c d"),
        ("面 条\n机", "zh", "面条机"),
        ("a\x00b\ud800c", "en", "a b c"),
        ("<|broken", "en", "<|broken"),
    ],
)
def test_text_is_made_readable(text: str, language: str, expected: str) -> None:
    assert readable(text, language) == expected


def test_words_are_joined_as_their_language_writes_them() -> None:
    assert join_words(["面", "条"], "zh") == "面条"
    assert join_words(["so", ",", "well"], "en") == "so, well"
    assert join_words(["안녕", "하세요"], "ko") == "안녕 하세요"


def test_letters_and_digits_of_any_script_are_words() -> None:
    assert all(map(has_letters, ["a", "面", "7", "é", "ㅎ"]))
    assert not any(map(has_letters, ["", "...", " — ", "¿?"]))


def test_a_tag_is_told_from_text_that_looks_like_one() -> None:
    assert all(map(has_control_token, ["<|en|>", "a<audio>", "</audio>", "[[[AUDIO:modality]]]"]))
    assert not any(map(has_control_token, ["<|en|", "<en>", "| en |"]))
