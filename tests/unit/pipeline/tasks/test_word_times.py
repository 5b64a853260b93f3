"""Words with their times: the published pattern is read exactly, a broken one is mended and flagged."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hearings import hear, words_of

from pipeline.tasks.parsed import Parsed
from pipeline.tasks.questions import HeardChunk
from pipeline.tasks.word_times import parse_word_times


def read(text: str, samples: int = 480_000, language: str = "en") -> Parsed:
    return hear("transcribe", text, HeardChunk(samples), language=language)


def test_the_official_chinese_word_times_are_read() -> None:
    published = "<|sil|><|0.54|>面<|0.86|>条<|1.17|>机<|1.46|><|sil|><|2.01|>"
    parsed = read(published, 32_160, "zh")
    assert words_of(parsed) == [("面", 54, 86), ("条", 86, 117), ("机", 117, 146)]
    assert parsed["text"] == "面条机"
    assert parsed["flags"] == []


def test_a_leading_zero_stamp_from_the_prompt_is_not_counted_twice() -> None:
    with_zero = "<|0.00|><|sil|><|0.54|>面<|0.86|>"
    assert read(with_zero, language="zh") == read(with_zero[8:], language="zh")


def test_english_word_times_are_read() -> None:
    parsed = read("so<|0.30|><|sil|><|1.00|> welcome<|1.52|> ,<|1.60|> gospel<|2.05|>.<|2.05|>")
    assert words_of(parsed) == [("so", 0, 30), ("welcome,", 100, 152), ("gospel.", 160, 205)]
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
    parsed = read(text, samples)
    assert words_of(parsed) == words
    assert parsed["flags"] == ["repaired_times"]


def test_a_stamp_within_a_frame_of_the_end_is_only_rounding() -> None:
    parsed = read("a<|1.03|>", 16_000)
    assert parsed["words"][0]["end_sample"] == 16_000
    assert parsed["flags"] == []


def test_text_without_times_keeps_its_text() -> None:
    parsed = read("glad to welcome")
    assert (parsed["text"], parsed["words"]) == ("glad to welcome", [])
    assert parsed["flags"] == ["missing_times"]


def test_a_stamp_beyond_the_last_one_is_no_time() -> None:
    parsed = read("a<|30.01|>")
    assert (parsed["text"], parsed["words"]) == ("a", [])
    assert parsed["flags"] == ["stray_tags", "missing_times"]


def test_silence_with_times_is_an_empty_transcript() -> None:
    parsed = read("<|sil|><|4.00|>")
    assert (parsed["text"], parsed["words"], parsed["flags"]) == ("", [], ["empty"])


def test_tags_among_words_are_taken_out_and_flagged() -> None:
    parsed = read("so<|0.30|><|pitch|>well<|0.60|>")
    assert words_of(parsed) == [("so", 0, 30), ("well", 30, 60)]
    assert parsed["flags"] == ["stray_tags"]


def test_a_word_is_as_sure_as_its_own_tokens() -> None:
    text = "so<|0.30|> well<|0.60|>"  # five tokens: so, stamp, we, ll, stamp
    starts, logprobs = (0, 2, 10, 13, 15), (-0.1, -9.0, -0.2, -0.4, -9.0)
    words, flags = parse_word_times(text, 480_000, starts, logprobs)
    assert [word.confidence for word in words] == [round(math.exp(-0.1), 4), round(math.exp(-0.3), 4)]
    assert flags == []


def test_a_stamp_of_the_prompt_that_was_repeated_does_not_shift_whose_tokens_are_whose() -> None:
    text = "<|0.00|>so<|0.30|>"
    (word,), _ = parse_word_times(text, 480_000, (0, 8, 10), (-9.0, -0.1, -9.0))
    assert word.confidence == round(math.exp(-0.1), 4)


@pytest.mark.parametrize("logprob", [math.nan, -math.inf, math.inf])
def test_a_score_that_is_no_number_is_no_confidence(logprob: float) -> None:
    (word,), _ = parse_word_times("so<|0.30|>", 480_000, (0,), (logprob,))
    assert word.confidence is None


def test_a_score_that_is_no_logarithm_of_a_probability_is_at_most_sure() -> None:
    (word,), _ = parse_word_times("so<|0.30|>", 480_000, (0,), (1_000.0,))
    assert word.confidence == 1.0


def test_words_whose_tokens_nobody_counted_have_no_confidence() -> None:
    (word,), _ = parse_word_times("so<|0.30|>", 480_000)
    assert word.confidence is None


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
    parsed = read(text)
    assert words_of(parsed) == expected
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
    parsed = read("".join(pieces))
    said = [piece.strip() for piece in pieces if piece.startswith(" ")]
    assert parsed["text"].split() == said
