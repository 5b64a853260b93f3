"""Transcripts: text as the official evaluation reads it, the language, and guards against what models invent."""

from __future__ import annotations

import pytest
from support.hearings import HALF_MINUTE, TEN_SECONDS, Scripted, answer, hear, words_of

from pipeline.stitching import stitch
from pipeline.tasks import get_task
from pipeline.tasks.findings import Part
from pipeline.tasks.questions import HeardChunk, Question
from qwen_audio.answers import Answer, FinishReason

LOOP = answer("no<|0.50|>no<|1.00|>", FinishReason.LOOP)
UNSURE = (-1.5,)
GERMAN = {"<|de|>": 0.9, "<|en|>": 0.1}


def windows(model: Scripted) -> list[tuple[int, int] | None]:
    return [question.window for question in model.decoded]


# What the model published.


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "mister quilting is the apostle of the middle classes and we are glad to welcome his gospel"),
        (
            "en",
            "The music came nearer and he recalled the words, the words of Shelley's fragment upon the moon "
            "wandering companionless, pale for weariness.",
        ),
        (
            "es",
            "Bueno, también podemos considerar algunas actividades divertidas como los deportes acuáticos.",
        ),
        ("zh", "对了我还想提议我们可以租一些自行车骑行一下既锻炼身体又心情愉悦"),
        ("zh", "哈哈你没事吧"),
    ],
)
def test_the_official_transcripts_are_read_as_they_stand(language: str, said: str) -> None:
    parsed = hear("transcribe", said, language=language, timestamps="none")
    assert (parsed["text"], parsed["language"]) == (said, language)
    assert (parsed["words"], parsed["utterances"], parsed["flags"]) == ([], [], [])
    assert parsed["avg_logprob"] == -0.5


def test_text_is_settled_as_in_the_official_evaluation() -> None:
    said = hear("transcribe", " so ,  he said :<|en|>yes .", language="en", timestamps="none")
    assert (said["text"], said["flags"]) == ("so, he said: yes.", ["stray_tags"])
    assert (
        hear("transcribe", "对了 我还 想提议", language="zh", timestamps="none")["text"] == "对了我还想提议"
    )


@pytest.mark.parametrize("timestamps", ["none", "segment", "word"])
def test_an_answer_without_words_is_flagged(timestamps: str) -> None:
    options = {"language": "en", "timestamps": timestamps}
    assert hear("transcribe", "", **options)["flags"] == ["empty"]
    assert hear("transcribe", "...", **options)["flags"] == ["unparsed"]
    assert hear("transcribe", "<|pitch|>", **options)["flags"] == ["stray_tags", "unparsed"]


def test_an_answer_about_a_whole_clip_is_read_alike_for_evaluation() -> None:
    task = get_task("transcribe")
    options = task.Options(language="zh")
    said = answer("<|sil|><|0.54|>面<|0.86|>")
    heard = hear("transcribe", said, language="zh")
    assert task.parse(said, 480_000, options) == {**heard, "no_speech_prob": None}


# The language.


def test_a_language_that_is_given_is_not_asked_for() -> None:
    model = Scripted(["guten Tag"])
    parsed = hear("transcribe", model, language="de", timestamps="none")
    assert (parsed["language"], parsed["language_probabilities"]) == ("de", {})
    assert all("<|de|>" in str(question.prompt) for question in model.asked)


def test_a_language_that_is_found_is_the_one_transcribed() -> None:
    model = Scripted(["guten Tag"], GERMAN)
    parsed = hear("transcribe", model, timestamps="none")
    assert parsed["language"] == "de"
    assert parsed["language_probabilities"]["de"] == 0.9
    assert "<|transcribe|><|de|>" in str(model.decoded[0].prompt)
    assert parsed["flags"] == []


def test_where_no_language_is_sure_the_likeliest_is_assumed_and_flagged() -> None:
    parsed = hear("transcribe", Scripted(["ciao"], {"<|unknown|>": 0.6, "<|it|>": 0.4}), timestamps="none")
    assert (parsed["language"], parsed["flags"]) == ("it", ["unknown_language"])


def test_where_the_model_cannot_tell_at_all_english_is_assumed() -> None:
    nothing = Answer("", (), (), FinishReason.SCORED, {})
    parsed = hear("transcribe", lambda asked: nothing if asked.candidates else answer("well<|0.50|>"))
    assert (parsed["language"], parsed["language_probabilities"]) == ("en", {})
    assert parsed["flags"] == ["unknown_language"]


def test_word_times_that_a_language_has_not_become_utterances_and_are_flagged() -> None:
    chunk = HeardChunk(480_000, ((16_000, 48_000), (160_000, 320_000)))
    model = Scripted(["guten Tag", "auf Wiedersehen"], GERMAN)
    parsed = hear("transcribe", model, chunk, timestamps="word")
    assert parsed["flags"] == ["timestamps_unavailable"]
    assert parsed["words"] == []
    assert [(one["text"], one["start_sample"], one["end_sample"]) for one in parsed["utterances"]] == [
        ("guten Tag", 14_400, 49_600),
        ("auf Wiedersehen", 158_400, 321_600),
    ]
    assert windows(model) == [(14_400, 49_600), (158_400, 321_600)]
    assert parsed["text"] == "guten Tag auf Wiedersehen"


def between(*likely: dict[str, float]) -> list[tuple[str, str]]:
    """Transcribe ten seconds each, of which the model says ``yes`` in English and ``ja`` in German."""
    parts = []
    for index, shares in enumerate(likely):
        doubt = Scripted([], shares)
        parsed = hear(
            "transcribe",
            lambda asked, doubt=doubt: (
                doubt(asked)
                if asked.candidates
                else answer("ja" if "<|transcribe|><|de|>" in str(asked.prompt) else "yes<|0.50|>")
            ),
            HeardChunk(TEN_SECONDS),
        )
        span = index * TEN_SECONDS, (index + 1) * TEN_SECONDS
        parts.append(Part(0, index, *span, *span, parsed=parsed))
    return [(one.language, one.text) for one in stitch("transcribe", {}, parts).segments]


SURELY_GERMAN, DOUBTFUL = {"<|de|>": 0.95, "<|en|>": 0.05}, {"<|en|>": 0.55, "<|de|>": 0.45}


def test_where_two_languages_are_likely_both_are_heard_and_the_neighbours_decide() -> None:
    assert between(DOUBTFUL) == [("en", "yes")]
    assert between(SURELY_GERMAN, DOUBTFUL, SURELY_GERMAN) == [("de", "ja")] * 3
    surely_english = {"<|en|>": 1.0}
    assert between(surely_english, DOUBTFUL, surely_english) == [("en", "yes")] * 3


def test_a_sure_chunk_is_heard_once_and_keeps_its_language_among_others() -> None:
    model = Scripted(["yes<|0.50|>"], {"<|en|>": 0.9, "<|de|>": 0.1})
    assert hear("transcribe", model)["alternative"] is None
    assert len(model.decoded) == 1
    assert between(SURELY_GERMAN, {"<|en|>": 0.9, "<|de|>": 0.1}, SURELY_GERMAN)[1] == ("en", "yes")


# Utterances.


def test_every_utterance_has_its_own_scores_and_flags() -> None:
    chunk = HeardChunk(480_000, ((0, 48_000), (160_000, 320_000)))
    model = Scripted([answer("so it goes"), answer("well<|en|>", logprobs=(-0.7, -0.9))])
    first, second = hear("transcribe", model, chunk, language="en", timestamps="segment")["utterances"]
    assert (first["avg_logprob"], first["flags"]) == (-0.5, [])
    assert (second["avg_logprob"], second["flags"]) == (-0.8, ["stray_tags"])
    assert first["no_speech_prob"] == second["no_speech_prob"] == 0.0


def test_one_empty_utterance_among_others_is_no_news() -> None:
    chunk = HeardChunk(480_000, ((0, 48_000), (160_000, 320_000)))
    options = {"language": "en", "timestamps": "segment"}
    assert hear("transcribe", Scripted(["so", ""]), chunk, **options)["flags"] == []
    assert hear("transcribe", Scripted([""]), chunk, **options)["flags"] == ["empty"]


def test_where_no_speech_lies_no_utterance_is_asked_for() -> None:
    model = Scripted(["so it goes"])
    parsed = hear("transcribe", model, HeardChunk(480_000, ()), language="en", timestamps="segment")
    assert (parsed["text"], parsed["utterances"], model.asked) == ("", [], [])


def test_text_without_times_is_asked_for_what_the_chunk_owns_because_neighbours_hear_the_rest() -> None:
    chunk = HeardChunk(480_000, owned=(16_000, 464_000))
    model = Scripted(["so it goes"])
    hear("transcribe", model, chunk, language="en", timestamps="none")
    assert windows(model) == [(16_000, 464_000)]
    model = Scripted(["so<|0.50|>"])
    hear("transcribe", model, chunk, language="en", timestamps="word")
    assert windows(model) == [None]


# Words where nobody speaks.


def test_words_that_the_model_does_not_believe_in_where_it_hears_no_speech_are_dropped_and_flagged() -> None:
    model = Scripted([answer("thank you<|0.50|>", logprobs=UNSURE)], {"<|sil|>": 0.7})
    parsed = hear("transcribe", model, language="en")
    assert (parsed["text"], parsed["words"]) == ("", [])
    assert "no_speech" in parsed["flags"]
    assert parsed["no_speech_prob"] == 0.7


def test_silence_and_an_early_end_both_count_as_no_speech() -> None:
    model = Scripted(["well<|0.50|>"], {"<|sil|>": 0.25, "<|endoftext|>": 0.5})
    assert hear("transcribe", model, language="en")["no_speech_prob"] == 0.75


@pytest.mark.parametrize(("silence", "logprobs"), [(0.7, (-0.9,)), (0.5, UNSURE), (0.7, ())])
def test_words_are_kept_where_either_doubt_is_missing(silence: float, logprobs: tuple[float, ...]) -> None:
    model = Scripted([answer("thank<|0.50|>", logprobs=logprobs)], {"<|sil|>": silence})
    parsed = hear("transcribe", model, language="en")
    assert (parsed["text"], parsed["flags"]) == ("thank", [])


def test_an_invented_utterance_is_dropped_without_those_beside_it() -> None:
    chunk = HeardChunk(480_000, ((0, 48_000), (160_000, 320_000)))
    model = Scripted(["so it goes", answer("thank you", logprobs=UNSURE)], {"<|sil|>": 0.7})
    parsed = hear("transcribe", model, chunk, language="en", timestamps="segment")
    assert [one["text"] for one in parsed["utterances"]] == ["so it goes"]
    assert (parsed["text"], parsed["flags"]) == ("so it goes", ["no_speech"])


# Loops.


def test_a_loop_is_heard_once_more_in_two_halves() -> None:
    model = Scripted([LOOP, "so<|1.00|>", "well<|2.00|>"])
    parsed = hear("transcribe", model, language="en")
    assert windows(model) == [None, (0, 240_000), (240_000, 480_000)]
    assert words_of(parsed) == [("so", 0, 100), ("well", 1_500, 1_700)]
    assert parsed["flags"] == []


def test_text_that_repeats_itself_is_a_loop_however_it_ended() -> None:
    model = Scripted(["no, no, " * 20, "so it goes", "well then"])
    parsed = hear("transcribe", model, language="en", timestamps="none")
    assert (parsed["text"], parsed["flags"]) == ("so it goes well then", [])


def test_halves_that_both_loop_are_not_taken_and_not_halved_again() -> None:
    model = Scripted([LOOP])
    parsed = hear("transcribe", model, language="en")
    assert len(model.decoded) == 3
    assert words_of(parsed) == [("no", 0, 50), ("no", 50, 100)]
    assert parsed["flags"] == ["loop"]


def test_one_half_that_loops_is_flagged_and_the_other_is_kept() -> None:
    parsed = hear("transcribe", Scripted([LOOP, "so<|1.00|>", LOOP]), language="en")
    assert parsed["text"] == "so no no"
    assert parsed["flags"] == ["loop"]


def test_a_half_whose_times_are_missing_stands_in_its_window() -> None:
    parsed = hear("transcribe", Scripted([LOOP, "so<|1.00|>", "well then"]), language="en")
    assert words_of(parsed) == [("so", 0, 100)]
    assert [(one["text"], one["start_sample"], one["end_sample"]) for one in parsed["utterances"]] == [
        ("well then", 240_000, 480_000)
    ]


def test_an_utterance_that_loops_is_halved_and_those_beside_it_are_left() -> None:
    chunk = HeardChunk(480_000, ((0, 48_000), (160_000, 320_000)))
    model = Scripted(["so it goes", answer("no no", FinishReason.LOOP), "well", "then"])
    parsed = hear("transcribe", model, chunk, language="en", timestamps="segment")
    assert [one["text"] for one in parsed["utterances"]] == ["so it goes", "well", "then"]
    assert windows(model)[2:] == [(158_400, 240_000), (240_000, 321_600)]


def test_a_clip_too_short_to_halve_keeps_its_loop() -> None:
    model = Scripted([LOOP])
    assert hear("transcribe", model, HeardChunk(6_399), language="en")["flags"] == ["repaired_times", "loop"]
    assert len(model.decoded) == 1


def test_how_likely_nobody_speaks_is_read_from_the_prompt_without_times() -> None:
    model = Scripted(["so<|1.00|>"])
    hear("transcribe", model, HALF_MINUTE, language="zh")
    (doubt,) = (question for question in model.asked if question.candidates)
    assert str(doubt.prompt) == "<|startoftranscript|><|zh|><|transcribe|><|zh|><|notimestamps|><|wo_itn|>"
    assert doubt == Question(doubt.prompt, candidates=doubt.candidates)


def test_a_model_of_short_clips_hears_utterance_by_utterance_with_word_times() -> None:
    speech = ((8_000, 40_000), (48_000, 80_000), (120_000, 150_000))
    chunk = HeardChunk(160_000, speech, clip_samples=96_000)
    model = Scripted(["<|sil|><|0.10|> hello<|0.90|>", "<|sil|><|0.20|> anna<|1.00|>"])
    parsed = hear("transcribe", model, chunk, language="en")
    assert [question.window for question in model.decoded] == [(6_400, 81_600), (118_400, 151_600)]
    assert words_of(parsed) == [("hello", 50, 130), ("anna", 760, 840)]


def test_a_chunk_that_is_short_enough_for_the_model_is_heard_whole() -> None:
    chunk = HeardChunk(96_000, ((8_000, 40_000),), clip_samples=96_000)
    model = Scripted(["hello<|0.90|>"])
    hear("transcribe", model, chunk, language="en")
    assert [question.window for question in model.decoded] == [None]
