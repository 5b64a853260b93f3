"""The official evaluation's prompts, parsing and metrics.

The golden cases are random texts and what the official functions made of them; the others are worked out by hand.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sacrebleu

from pipeline.official import text as official_text
from pipeline.official.captions import NOT_COMPUTED, coco_references, coco_results, write_coco
from pipeline.official.data import Line, read_data
from pipeline.official.errors import (
    InvalidLine,
    InvalidOptions,
    MissingPackages,
    NoData,
    OtherPredictions,
    UnknownEvaluation,
)
from pipeline.official.evaluations import EVALUATIONS, Options, find_evaluation, score_sources
from pipeline.official.notes import MISSING, macro_average_precision, read_note, score_notes
from pipeline.official.predictions import Asked, Prediction, add_prediction, read_predictions
from pipeline.official.text import accuracy, bleu, check_bleu, normalise, units, word_error_rate
from pipeline.official.word_times import average_shift, read_times

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "official" / "cases.json").read_text("utf-8"))
SRWT_EXAMPLE = "<|0.00|><|sil|><|0.54|>面<|0.86|>条<|1.17|>机<|1.46|><|sil|><|2.01|>"  # of EVALUATION.md

OFFICIAL = {
    "transcribe": (
        "asr",
        256,
        "<|startoftranscript|><|en|><|transcribe|><|en|><|notimestamps|><|wo_itn|>",
    ),
    "words": ("srwt", 256, "<|startoftranscript|><|en|><|transcribe|><|en|><|timestamps|><|0.00|>"),
    "translate": (
        "s2tt",
        256,
        "<|startoftranscript|><|en|><|translate|><|de|><|notimestamps|><|itn|>",
    ),
    "caption": (
        "aac",
        30,
        "<|startofanalysis|><|unknown|><|caption|><|en|><|notimestamps|><|caption_clotho|>",
    ),
    "scene": ("asc", 10, "<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|><|scene|>"),
    "emotion": (
        "ser",
        4,
        "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|emotion_recognition|>",
    ),
    "vocal": (
        "vsc",
        4,
        "<|startofanalysis|><|en|><|keyword|><|en|><|notimestamps|><|vocal_classification|>",
    ),
    "ask": ("aqa", 4, "<|startofanalysis|><|en|><|question|>is it loud?<|answer|>"),
    "music": (
        "mna",
        30,
        "<|startofanalysis|><|unknown|><|keyword|><|en|><|notimestamps|><|note_analysis|>",
    ),
}


def line(gt="", source="covost2_en_de_test", number=1, question="is it loud?"):
    return Line(number, Path("a.wav"), gt, source, question)


@pytest.mark.parametrize("name", OFFICIAL)
def test_prompts_and_limits_are_the_official_ones(name):
    alias, limit, prompt = OFFICIAL[name]
    one = EVALUATIONS[name]
    assert (one.alias, one.limit, str(one.prompt(line(), Options()))) == (alias, limit, prompt)
    assert find_evaluation(alias) is find_evaluation(name) is one


def test_there_is_no_evaluation_beside_the_nine():
    assert EVALUATIONS.keys() == OFFICIAL.keys()
    with pytest.raises(UnknownEvaluation, match=r"'sing'.*transcribe \(asr\).*music \(mna\)"):
        find_evaluation("sing")


def test_a_language_is_asked_in_both_places_of_a_transcript():
    chinese = Options(language="zh")
    assert "<|zh|><|transcribe|><|zh|><|notimestamps|>" in str(
        EVALUATIONS["transcribe"].prompt(line(), chinese)
    )
    assert "<|zh|><|transcribe|><|zh|><|timestamps|><|0.00|>" in str(
        EVALUATIONS["words"].prompt(line(), chinese)
    )


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InvalidOptions, match="no language 'xx': choose one of en, zh"):
        Options(language="xx")
    with pytest.raises(InvalidOptions, match="scene takes no --language"):
        EVALUATIONS["scene"].check(Options(language="en"))
    with pytest.raises(InvalidOptions, match="transcribe takes no --target"):
        EVALUATIONS["transcribe"].check(Options(target="de"))
    EVALUATIONS["translate"].check(Options("en", "de"))


@pytest.mark.parametrize(
    ("source", "options", "pair"),
    [
        ("covost2_zh_en_test", Options(), "zh en"),
        ("a_b_es_en_dev", Options(), "es en"),
        ("covost2_zh_en_test", Options(target="ja"), "zh ja"),
        ("mine", Options("fr", "en"), "fr en"),
    ],
)
def test_a_language_pair_comes_from_the_options_or_the_source(source, options, pair):
    into = "<|{}|><|translate|><|{}|>".format(*pair.split())
    assert into in str(EVALUATIONS["translate"].prompt(line(source=source), options))


@pytest.mark.parametrize(
    ("source", "options"),
    [("mine", Options()), ("mine", Options("fr")), ("covost2_en_xx_test", Options()), ("en_de", Options())],
)
def test_a_source_without_a_language_pair_is_a_bad_line(source, options):
    with pytest.raises(InvalidLine, match="give --language and --target"):
        EVALUATIONS["translate"].prompt(line(source=source), options)


def test_a_question_is_needed_to_ask():
    with pytest.raises(InvalidLine, match="no question"):
        EVALUATIONS["ask"].prompt(line(question=" "), Options())


@pytest.mark.parametrize(
    ("raw", "language", "normal"),
    [
        ("  Mister<|en|>Quilter ,  is . here !", "en", "Mister Quilter, is. here!"),
        ("a\t\nb <|0.54|> c ", "en", "a b c "),  # a space at the end stays, and counts for nothing
        ("<|0.54|>面<|0.86|> 条 机 ", "zh", "面条机"),
        ("<|sil|>", "en", ""),
    ],
)
def test_transcripts_are_normalised(raw, language, normal):
    assert normalise(raw, language) == normal


def test_errors_are_counted_in_lower_case_words_with_their_marks_and_in_chinese_characters():
    assert units("Hello, World", "en") == ["hello,", "world"]
    assert units("面 条A", "zh") == ["面", "条", "a"]


def test_word_errors_are_counted_over_the_whole_corpus():
    pairs = [("the cat sat", "the cat sat on the mat"), ("Dog", "dog"), ("a dog", "the dog")]
    assert word_error_rate(pairs, "en") == pytest.approx((3 + 0 + 1) / (6 + 1 + 2))
    assert word_error_rate([("dog", "dog.")], "en") == 1.0
    assert word_error_rate([("x", "<|sil|>")], "en") is None


@pytest.mark.parametrize("case", GOLDEN["wer"])
def test_word_errors_are_those_of_the_official_code(case):
    assert word_error_rate(case["pairs"], case["language"]) == pytest.approx(case["wer"], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["aas"])
def test_shifts_are_those_of_the_official_code(case):
    shift = average_shift(case["pairs"])
    assert (shift.tokens, shift.skipped) == (case["tokens"], 0)
    assert shift.seconds == pytest.approx(case["seconds"], abs=1e-12)


@pytest.mark.parametrize("case", GOLDEN["mna"])
def test_notes_are_scored_as_by_the_official_code(case):
    figures = score_notes(case["pairs"])
    figures.pop("chroma_accuracy_of_pitches")  # ours
    for name, value in case["figures"].items():
        assert figures.pop(name) == (None if value is None else pytest.approx(value, abs=1e-12)), name
    assert figures == {}


def test_chinese_is_scored_per_character():
    assert word_error_rate([("面条 机", "面条鸡")], "zh") == pytest.approx(1 / 3)
    assert word_error_rate([("面条 机", "面条鸡")], "en") == 2.0


def test_bleu_is_that_of_sacrebleu_over_the_corpus():
    right = "the small black cat sat on the old mat"
    pairs = [(right, right), ("a dog ran over the wide green field", "the dog ran over the wide green field")]
    hypotheses, references = map(list, zip(*pairs, strict=True))
    assert bleu(pairs, "en") == sacrebleu.corpus_bleu(hypotheses, [references], tokenize="13a").score
    assert bleu([(right, right)], "de") == pytest.approx(100)
    # By hand: of 9, 8, 7 and 6 n-grams 8, 7, 6 and 5 are right, and nothing is too short.
    nearly = right.replace("mat", "rug")
    assert bleu([(nearly, right)], "en") == pytest.approx(100 * (8 * 7 * 6 * 5 / (9 * 8 * 7 * 6)) ** 0.25)


def test_bleu_in_chinese_counts_characters():
    pair = ("今天天气很好", "今天天气不好")
    assert bleu([pair], "zh") == sacrebleu.corpus_bleu([pair[0]], [[pair[1]]], tokenize="zh").score
    assert bleu([pair], "zh") > bleu([pair], "en")


def test_bleu_in_japanese_names_what_it_needs(monkeypatch):
    monkeypatch.setattr(official_text, "find_spec", lambda name: None)
    with pytest.raises(MissingPackages, match=r"pip install 'sacrebleu\[ja\]'"):
        check_bleu("ja")
    check_bleu("zh")


def test_labels_are_right_to_the_letter():
    assert accuracy([("happy", "happy"), ("Happy", "happy"), ("sad.", "sad"), ("sad", "sad")]) == 0.5


def test_yes_and_no_are_scored_apart_by_their_truth():
    heard = [
        ("yes", line("yes")),
        ("no", line("Yes")),
        ("three", line("three")),
        ("no", line("two")),
        ("yes", line("no")),
    ]
    assert EVALUATIONS["ask"].score(heard, Options()) == {
        "accuracy": 2 / 5,
        "binary_accuracy": 1 / 3,
        "binary_lines": 3,
    }


def test_the_official_example_of_word_times_is_read():
    assert read_times(SRWT_EXAMPLE) == [
        ("<|sil|>", 0.0, 0.54),
        ("面", 0.54, 0.86),
        ("条", 0.86, 1.17),
        ("机", 1.17, 1.46),
        ("<|sil|>", 1.46, 2.01),
    ]


def test_an_answer_is_read_from_its_first_stamp_on():
    assert read_times("<|sil|><|0.54|>面<|0.86|>rest") == [("面", 0.54, 0.86)]
    assert read_times("<|startoftranscript|><|zh|><|transcribe|><|0.10|>面<|0.20|>") == [("面", 0.1, 0.2)]
    assert read_times("面条") is None


def test_shifts_are_summed_over_start_and_end_per_token():
    late = "<|0.00|><|sil|><|0.60|>面<|0.90|>条<|1.17|>机<|1.46|><|sil|><|2.01|>"
    shift = average_shift([(late, SRWT_EXAMPLE)])
    assert shift.seconds == pytest.approx((0.06 + (0.06 + 0.04) + 0.04) / 5)
    assert (shift.tokens, shift.skipped) == (5, 0)


def test_shifts_are_measured_where_words_agree():
    other = "<|0.54|>面<|0.86|>包<|1.27|>机<|1.46|><|sil|><|2.01|>"
    shift = average_shift([(other, SRWT_EXAMPLE)])
    assert (shift.seconds, shift.tokens) == (pytest.approx(0.10 / 3), 3)


def test_of_equal_alignments_the_official_one_is_taken():
    # "a" agrees with either of two; the official aligner walks back from the end and prefers to substitute.
    shift = average_shift([("<|0.00|>a<|1.00|>", "<|0.00|>a<|1.00|>a<|5.00|>")])
    assert shift.seconds == pytest.approx(1 + 4)
    shift = average_shift([("<|0.00|>b<|1.00|>a<|2.00|>", "<|0.00|>a<|1.00|>b<|2.00|>")])
    assert (shift.seconds, shift.tokens) == (None, 0)


def test_an_answer_without_stamps_is_skipped_and_counted_and_still_has_words():
    heard = [("面条机", line(SRWT_EXAMPLE)), (SRWT_EXAMPLE, line(SRWT_EXAMPLE))]
    assert EVALUATIONS["words"].score(heard, Options(language="zh")) == {
        "aas_seconds": 0.0,
        "matched_tokens": 5,
        "skipped": 1,
        "wer": 0.0,
    }


def test_a_note_is_read():
    note = read_note(
        "<|pitch|><|midi_pitch_60|><|velocity|><|midi_velocity_100|><|instrument|>guitar<|sonic|>bright, loud, reverb<x"
    )
    assert (note.pitch, note.velocity, note.instrument) == (60, 100, "guitar")
    assert note.qualities == ("bright", "reverb")


@pytest.mark.parametrize(
    "text", ["", "guitar", "<|pitch|><|midi_pitch_x|><|velocity|>50", "<|midi_pitch_60|>"]
)
def test_what_is_missing_in_a_note_is_128_or_empty(text):
    note = read_note(text)
    assert (note.pitch, note.velocity, note.instrument, note.qualities) == (MISSING, 128, "", ())


def pitched(pitch, more=""):
    return f"<|pitch|><|midi_pitch_{pitch}|>{more}"


def test_notes_are_scored_part_by_part():
    loud, bass = "<|velocity|><|midi_velocity_100|>", "<|instrument|>bass"
    figures = score_notes(
        [(pitched(60, loud), pitched(60, bass)), (pitched(61, bass), pitched(62, bass)), ("", pitched(60))]
    )
    assert figures["pitch_top1_accuracy"] == pytest.approx(1 / 3)
    assert figures["velocity_accuracy"] == pytest.approx(2 / 3)  # two miss it on both sides
    assert figures["instrument_accuracy"] == pytest.approx(2 / 3)
    assert figures["qualities_map"] is None


def test_chroma_is_right_in_another_octave():
    scale = [(pitched(pitch), pitched(pitch)) for pitch in range(60, 73)]
    figures = score_notes([*scale, (pitched(72), pitched(60))])
    assert figures["chroma_accuracy"] == figures["chroma_accuracy_of_pitches"] == 1.0
    assert figures["pitch_top1_accuracy"] == pytest.approx(13 / 14)


def test_official_chroma_numbers_the_pitches_that_occur():
    figures = score_notes([(pitched(72), pitched(60)), ("", pitched(68))])
    assert figures["chroma_accuracy"] == 0.0  # numbers 2 and 0, 3 and 1
    assert figures["chroma_accuracy_of_pitches"] == 0.5  # 128 % 12 is 68 % 12, but nothing was said


@pytest.mark.parametrize(
    ("truths", "found", "value"),
    [
        # Figures of sklearn.metrics.average_precision_score(..., average="macro"), scikit-learn 1.9.1.
        ([["dark"], []], [["dark"], []], 1.0),
        ([["dark"], []], [[], ["dark"]], 0.5),
        ([["dark"], ["dark"], [], []], [["dark"], [], ["dark"], []], 0.5),
        ([["dark"], ["reverb"], ["dark", "reverb"]], [["dark"], [], ["dark", "bright"]], (1 + 2 / 3 + 0) / 3),
        ([[], []], [[], []], None),
    ],
)
def test_average_precision_is_that_of_scikit_learn(truths, found, value):
    assert macro_average_precision(truths, found) == (None if value is None else pytest.approx(value))


def test_every_source_has_its_own_figures_in_the_order_of_the_data():
    heard = [
        ("happy", line("happy", "b", 3)),
        ("sad", line("happy", "a", 2)),
        ("happy", line("happy", "b", 1)),
    ]
    scored = score_sources(EVALUATIONS["emotion"], heard, Options())
    assert list(scored.items()) == [
        ("b", {"lines": 2, "accuracy": 1.0}),
        ("a", {"lines": 1, "accuracy": 0.0}),
    ]


def test_captions_are_written_for_the_official_tools_and_nothing_is_computed(tmp_path):
    heard = [
        ("rain falls", line(("rain", "it rains"), "x")),
        ("a dog", line("a dog barks", "y")),
        ("wind", line(("wind",), "x")),
    ]
    assert coco_results(["rain falls"]) == [{"audio_id": 0, "caption": "rain falls"}]
    assert coco_references([("rain", "it rains"), ("wind",)])["annotations"] == [
        {"audio_id": 0, "id": 0, "caption": "rain"},
        {"audio_id": 0, "id": 1, "caption": "it rains"},
        {"audio_id": 1, "id": 2, "caption": "wind"},
    ]
    paths = write_coco(heard, tmp_path / "p.jsonl")
    assert [one["caption"] for one in json.loads(Path(paths["x"]["results"]).read_text())] == [
        "rain falls",
        "wind",
    ]
    assert (
        json.loads(Path(paths["y"]["references"]).read_text())["annotations"][0]["caption"] == "a dog barks"
    )
    assert EVALUATIONS["caption"].score(heard, Options()) == {}
    assert {"CIDEr", "SPICE", "SPIDEr"} < set(NOT_COMPUTED)


def write_lines(path, *lines):
    path.write_bytes(b"\n".join(one if isinstance(one, bytes) else json.dumps(one).encode() for one in lines))
    return path


def test_lines_are_read_and_bad_ones_reported_by_number(tmp_path):
    good = {"audio": "a.wav", "gt": "x", "source": "s", "key": "ignored"}
    path = write_lines(
        tmp_path / "d.jsonl",
        good,
        b"",
        b"{",
        b"\xff",
        b"[]",
        {**good, "gt": 3},
        {"audio": "a", "gt": "x"},
        {**good, "audio": "/b.wav", "question": "q"},
        {**good, "audio": ""},
        {**good, "gt": ["x"]},
    )
    data = read_data(path, lambda line: None)
    assert [(one.number, str(one.audio), one.question) for one in data.lines] == [
        (1, str(tmp_path / "a.wav"), ""),
        (8, "/b.wav", "q"),
    ]
    assert [(one.number, one.reason.partition(":")[0]) for one in data.bad] == [
        (3, "not JSON"),
        (4, "not JSON"),
        (5, "not a JSON object"),
        (6, "gt has to be a text"),
        (7, "source has to be a text"),
        (9, "audio has to name a file"),
        (10, "gt has to be a text"),
    ]


def test_a_limit_counts_lines_and_captions_may_have_several_truths(tmp_path):
    several = {"audio": "a.wav", "gt": ["x", "y"], "source": "s"}
    path = write_lines(tmp_path / "d.jsonl", several, several, several)
    data = read_data(path, lambda line: None, limit=2, several_gts=True)
    assert [one.gt for one in data.lines] == [("x", "y")] * 2


def test_what_a_task_cannot_ask_is_a_bad_line(tmp_path):
    path = write_lines(tmp_path / "d.jsonl", {"audio": "a.wav", "gt": "x", "source": "s"})
    data = read_data(path, lambda line: EVALUATIONS["ask"].prompt(line, Options()))
    assert [(one.number, one.reason) for one in data.bad] == [(1, "no question")]


def test_data_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(NoData, match=r"gone\.jsonl cannot be read: No such file"):
        read_data(tmp_path / "gone.jsonl", lambda line: None)


ASKED = Asked("scene", "r1", "<|scene|>", "a.wav")


def keep(path, *numbers, asked=ASKED):
    with path.open("ab") as stream:
        for number in numbers:
            add_prediction(stream, Prediction(number, asked, "s", "gt", f"厨房 {number}\ud800", None, False))


def test_predictions_come_back_and_more_can_follow_a_half_written_line(tmp_path):
    path = tmp_path / "p.jsonl"
    keep(path, 1, 2)
    path.write_bytes(path.read_bytes() + b'{"line": 3, "ta')
    found = read_predictions(path, {1: ASKED, 3: ASKED})
    assert {number: one.prediction for number, one in found.items()} == {1: "厨房 1\ud800"}
    keep(path, 3)
    assert read_predictions(path, dict.fromkeys((1, 2, 3), ASKED)).keys() == {1, 2, 3}


def test_there_are_no_predictions_without_a_file(tmp_path):
    assert read_predictions(tmp_path / "p.jsonl", {1: ASKED}) == {}


@pytest.mark.parametrize("field", ["task", "model", "prompt", "audio"])
def test_the_answer_to_another_question_is_not_taken(tmp_path, field):
    path = tmp_path / "p.jsonl"
    keep(path, 1)
    other = Asked(**{**vars(ASKED), field: "other"})
    with pytest.raises(OtherPredictions, match="line 1, answers another question: give another --out"):
        read_predictions(path, {1: other})


@pytest.mark.parametrize("content", [b'{"audio": "a"}\n', b"[]\n", b'{"audio": "a", "gt": "b"}', b"x\nhalf"])
def test_a_file_that_is_not_ours_is_refused_and_stays_as_it_is(tmp_path, content):
    path = tmp_path / "p.jsonl"
    path.write_bytes(content)
    with pytest.raises(OtherPredictions, match="line 1, is no prediction of ours"):
        read_predictions(path, {1: ASKED})
    assert path.read_bytes() == content


def test_it_is_free_of_torch_and_of_its_own_extra_until_something_is_scored():
    code = (
        "import sys, pipeline.official.evaluations; "
        "print([name for name in ('torch', 'transformers', 'sacrebleu', 'rapidfuzz') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"
