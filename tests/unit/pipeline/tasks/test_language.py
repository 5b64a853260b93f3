"""Languages: the model's own distribution, smoothed over neighbours, and never a guess where it has none."""

from __future__ import annotations

import math

import pytest
from support.hearings import Scripted, hear

from pipeline.stitching import stitch
from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.hearing_language import probability, read_probabilities, shares_of
from qwen_audio.answers import Answer, FinishReason

SECOND = 16_000


def scored(**scores: float) -> Answer:
    return Answer("", (), (), FinishReason.SCORED, {f"<|{code}|>": score for code, score in scores.items()})


def found(*chunks: dict[str, float] | None, speech: tuple[int, ...] = ()) -> Findings:
    """Stitch chunks of 10 s each, which hold as many samples of speech as ``speech`` says."""
    spoken = speech or (SECOND,) * len(chunks)
    return stitch(
        "language",
        {},
        [
            Part(
                0,
                index,
                index * 10 * SECOND,
                (index + 1) * 10 * SECOND,
                index * 10 * SECOND,
                (index + 1) * 10 * SECOND,
                speech=((index * 10 * SECOND, index * 10 * SECOND + spoken[index]),),
                parsed=None if chances is None else {"label": "x", "probabilities": chances, "flags": []},
            )
            for index, chances in enumerate(chunks)
        ],
    )


def labels(findings: Findings) -> list[tuple[str | None, int, int]]:
    return [(one.label, one.start_sample // SECOND, one.end_sample // SECOND) for one in findings.annotations]


def test_eight_languages_and_unknown_share_what_is_likely() -> None:
    model = Scripted(likely={"<|de|>": 0.6, "<|en|>": 0.3, "<|unknown|>": 0.1})
    parsed = hear("language", model)
    assert parsed["label"] == "de"
    assert set(parsed["probabilities"]) == {"en", "zh", "de", "es", "ko", "fr", "ja", "it", "unknown"}
    assert (parsed["probabilities"]["de"], parsed["probabilities"]["unknown"]) == (0.6, 0.1)
    assert math.isclose(sum(parsed["probabilities"].values()), 1.0, abs_tol=0.001)
    assert parsed["flags"] == []
    assert [question.window for question in model.asked] == [None]


def test_unknown_is_said_to_be_unknown() -> None:
    parsed = hear("language", Scripted(likely={"<|unknown|>": 0.6, "<|en|>": 0.4}))
    assert (parsed["label"], parsed["flags"]) == ("unknown", ["unknown_language"])


@pytest.mark.parametrize(
    "scores",
    [
        {},
        {"en": math.nan, "de": -1.0},
        {"en": -1.0, "de": math.nan},
        {"en": -math.inf},
        {"en": math.inf},
    ],
)
def test_scores_that_are_no_numbers_are_no_language(scores: dict[str, float]) -> None:
    assert read_probabilities(scored(**scores)) == {}
    parsed = hear("language", lambda _: scored(**scores))
    assert parsed == {"label": None, "probabilities": {}, "flags": ["unparsed"]}


def test_what_is_impossible_takes_nothing_from_the_others() -> None:
    assert shares_of(scored(en=-math.inf, de=-700.0)) == {"<|en|>": 0.0, "<|de|>": 1.0}
    assert shares_of(scored(en=-1.0, de=-1.0)) == {"<|en|>": 0.5, "<|de|>": 0.5}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ({"sil": math.log(0.25), "endoftext": math.log(0.5)}, 0.75),
        ({"sil": 0.0, "endoftext": 0.0}, 1.0),  # rounding never makes it more than sure
        ({"sil": 1_000.0}, 1.0),  # nor does a score that is no logarithm of a probability
        ({"sil": -math.inf}, 0.0),
        ({"sil": math.nan, "endoftext": 0.0}, None),
        ({}, None),
    ],
)
def test_a_probability_is_the_sum_of_its_candidates_or_none(
    scores: dict[str, float], expected: float | None
) -> None:
    assert probability(scored(**scores)) == expected


def test_chunks_that_agree_are_one_finding() -> None:
    german = {"de": 0.9, "en": 0.1}
    assert labels(found(german, german, None, german)) == [("de", 0, 20), ("de", 30, 40)]


def test_one_finding_of_several_chunks_is_as_likely_as_they_are_on_average() -> None:
    sure, half = {"de": 1.0, "en": 0.0}, {"de": 0.6, "en": 0.4}
    (one,) = found(sure, half, half).annotations
    assert one.data["probability"] == 0.7222  # of 0.8667, 0.7 and 0.6


def test_one_doubtful_chunk_does_not_break_a_conversation() -> None:
    assert labels(found({"de": 0.9, "en": 0.1}, {"de": 0.45, "en": 0.55}, {"de": 0.9, "en": 0.1})) == [
        ("de", 0, 30)
    ]


def test_a_chunk_that_is_sure_of_another_language_keeps_it() -> None:
    german = {"de": 1.0, "en": 0.0}
    assert labels(found(german, {"de": 0.0, "en": 1.0}, speech=(SECOND, 2 * SECOND))) == [
        ("de", 0, 10),
        ("en", 10, 20),
    ]


def test_neighbours_have_a_say_by_how_much_they_speak() -> None:
    sure, doubtful = {"de": 0.9, "en": 0.1}, {"de": 0.4, "en": 0.6}
    assert labels(found(sure, doubtful, speech=(SECOND, SECOND))) == [("de", 0, 20)]
    assert labels(found(sure, doubtful, speech=(SECOND // 10, SECOND))) == [("en", 0, 20)]


def test_the_recording_speaks_the_language_that_is_spoken_most_not_first() -> None:
    summary = found({"en": 1.0, "zh": 0.0}, {"en": 0.0, "zh": 1.0}, speech=(SECOND, 9 * SECOND)).summary
    assert summary is not None
    assert summary.label == "zh"
    assert summary.confidence == summary.data["probabilities"]["zh"] > 0.7
    assert math.isclose(sum(summary.data["probabilities"].values()), 1.0, abs_tol=0.001)


def test_many_short_chunks_do_not_outvote_what_is_spoken_longer() -> None:
    english, chinese = {"en": 1.0, "zh": 0.0}, {"en": 0.0, "zh": 1.0}
    summary = found(english, chinese, chinese, speech=(8 * SECOND, 3 * SECOND, 3 * SECOND)).summary
    assert summary is not None
    assert summary.label == "en"


def test_chunks_that_nobody_could_judge_say_nothing() -> None:
    assert found({}, None) == Findings()


def test_a_recording_without_a_known_language_says_unknown_and_flags_it() -> None:
    findings = found({"unknown": 0.8, "en": 0.2})
    assert [(one.label, one.flags) for one in findings.annotations] == [("unknown", ("unknown_language",))]
    assert findings.summary is not None
    assert findings.summary.label == "unknown"
