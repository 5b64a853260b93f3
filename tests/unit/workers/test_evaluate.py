"""``earwitness evaluate``: every line is asked once, answers survive an interruption, figures are printed."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from support.audio_makers import pcm, tone, voice, wav_bytes
from typer.testing import CliRunner

from cli.commands import evaluate as command
from cli.main import app
from pipeline.official.data import read_clip
from pipeline.tasks.prompts import scene_prompt
from qwen_audio.answers import FinishReason
from qwen_audio.engine import Engine
from qwen_audio.errors import AnswerNotFinite, EngineClosed, EngineOutOfMemory
from qwen_audio.prefix import Prefix
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tiny import write_tiny
from workers import evaluate
from workers.meter import Meter
from workers.official_engine import OfficialEngine

KEPT = ("line", "task", "model", "prompt", "audio", "source", "gt", "prediction", "parsed", "was_cut")


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with three clips."""
    for name, wave in (("a", voice(1.2)), ("b", tone(0.8)), ("long", voice(31.0))):
        (tmp_path / f"{name}.wav").write_bytes(wav_bytes(pcm(wave)))
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARWITNESS_PLACES", "2")
    return tmp_path


def write_data(*lines):
    path = Path("data.jsonl")
    path.write_text("".join(one if isinstance(one, str) else json.dumps(one) + "\n" for one in lines))
    return path


def clip(name, gt="hello", source="s", **more):
    return {"audio": f"{name}.wav", "gt": gt, "source": source, **more}


@pytest.fixture
def run(tiny, capsys):
    """Run the command in this process; return its exit code, its JSON (None without), and both outputs."""

    def run(task, *options, model=tiny):
        code = evaluate.main(
            [f"--model={model}", "--device=cpu", "--out=p.jsonl", *options, "--", task, "data.jsonl"]
        )
        shown = capsys.readouterr()
        last = shown.out.splitlines()[-1:] if code != 130 else []
        figures = json.loads(last[0]) if last and last[0].startswith("{") else None
        return code, figures, shown

    return run


def predictions():
    return [json.loads(text) for text in Path("p.jsonl").read_text().splitlines()]


@pytest.fixture
def heard(monkeypatch):
    """Note how many samples each clip has that is asked about."""
    lengths = []
    answer = OfficialEngine.answer

    def noting(self, samples, prompt, limit):
        lengths.append(len(samples))
        return answer(self, samples, prompt, limit)

    monkeypatch.setattr(OfficialEngine, "answer", noting)
    return lengths


def test_a_data_set_is_heard_and_scored_by_source(folder, run, heard):
    write_data(clip("a", source="one"), clip("b", source="two"), clip("long", source="one"))
    code, figures, shown = run("asr")
    assert code == 0
    assert sorted(heard) == [12_800, 19_200, 480_000]
    assert figures["task"] == "transcribe"
    assert (figures["lines"], figures["bad_lines"], figures["cut_to_30_seconds"]) == (3, 0, 1)
    assert {source: values["lines"] for source, values in figures["sources"].items()} == {"one": 2, "two": 1}
    assert all(values["wer"] > 0 for values in figures["sources"].values())
    rows = predictions()
    assert sorted(row["line"] for row in rows) == [1, 2, 3]
    assert all(tuple(row) == KEPT for row in rows)
    assert "3/3 lines" in shown.err
    assert "wer" in shown.out


def test_what_is_answered_is_not_asked_again(folder, run, heard):
    write_data(clip("a"), clip("b"), clip("long"))
    assert run("scene")[0] == 0
    whole = Path("p.jsonl").read_bytes()
    first, second, _ = whole.splitlines(keepends=True)
    Path("p.jsonl").write_bytes(first + second[:-20])  # killed while it wrote the second
    before = run("scene")[1]
    assert len(heard) == 3 + 2
    code, figures, shown = run("scene")
    assert code == 0
    assert len(heard) == 5
    assert figures == before
    assert "3 of 3 lines are answered in p.jsonl" in shown.err
    by_line = [{row["line"]: row["prediction"] for row in map(json.loads, text.splitlines())} for text in
               (whole, Path("p.jsonl").read_bytes())]  # fmt: skip
    assert by_line[0] == by_line[1]


def test_bad_lines_are_told_with_their_number_counted_and_left_out(folder, run):
    write_data("{\n", clip("gone"), clip("broken"), clip("b"), "\n", {"audio": "a.wav", "source": "s"})
    code, figures, shown = run("emotion")
    assert code == 0
    assert (figures["lines"], figures["bad_lines"]) == (1, 4)
    for number, reason in ((1, "not JSON"), (2, "there is no audio file"), (3, ""), (6, "gt has to be")):
        assert f"line {number} is left out: {reason}" in shown.err
    assert [row["line"] for row in predictions()] == [4]


def test_clips_of_which_none_can_be_heard_are_a_failure(folder, run):
    write_data(clip("gone"))
    code, figures, _ = run("vocal")
    assert code == 1
    assert (figures["lines"], figures["sources"]) == (0, {})


def test_data_without_a_line_to_ask_is_told_before_the_model_is_loaded(folder, run, monkeypatch):
    monkeypatch.setattr(evaluate, "load_engine", lambda settings: pytest.fail("loaded"))
    write_data(clip("a"))
    code, _, shown = run("aqa")
    assert code == 1
    assert "data.jsonl holds no line to ask about\nline 1: no question" in shown.err


def test_predictions_of_another_model_are_not_taken_over(folder, run, tiny, tmp_path_factory):
    write_data(clip("a"))
    run("scene")
    other = tmp_path_factory.mktemp("other")
    write_tiny(other, seed=1)
    code, _, shown = run("scene", model=other)
    assert code == 1
    assert "answers another question: give another --out" in shown.err


def test_the_data_is_never_written_to(folder, run):
    before = write_data(clip("a")).read_text()
    code, _, shown = run("scene", "--out=data.jsonl")
    assert code == 1
    assert "data.jsonl is the data itself" in shown.err
    assert Path("data.jsonl").read_text() == before


def test_a_limit_asks_about_the_first_lines(folder, run, heard):
    write_data(clip("b"), clip("a"), clip("long"))
    assert run("scene", "--limit=1")[1]["lines"] == 1
    assert heard == [12_800]
    assert run("scene", "--limit=2")[1]["lines"] == 2
    assert heard == [12_800, 19_200]


def test_predictions_go_beside_the_reader_when_no_file_is_named(folder, tiny, capsys):
    write_data(clip("a"))
    assert evaluate.main([f"--model={tiny}", "--device=cpu", "srwt", "data.jsonl"]) == 0
    assert json.loads(Path("data.words.predictions.jsonl").read_text())["task"] == "words"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["sources"]["s"]["matched_tokens"] == 0


@pytest.mark.parametrize(
    ("task", "line", "figures"),
    [
        ("srwt", clip("a", "<|0.00|>x<|1.00|>"), {"aas_seconds", "matched_tokens", "skipped", "wer"}),
        ("s2tt", clip("a", source="covost2_en_de_test"), {"bleu"}),
        ("aqa", clip("a", "yes", question="is it loud?"), {"accuracy", "binary_accuracy", "binary_lines"}),
        (
            "mna",
            clip("a", "<|pitch|><|midi_pitch_60|><|sonic|>dark"),
            {
                "instrument_accuracy",
                "velocity_accuracy",
                "pitch_top1_accuracy",
                "chroma_accuracy",
                "chroma_accuracy_of_pitches",
                "qualities_map",
            },
        ),
    ],
)
def test_every_task_has_its_figures(folder, run, task, line, figures):
    write_data(line)
    code, found, _ = run(task)
    assert code == 0
    (scored,) = found["sources"].values()
    assert scored.keys() == {"lines", *figures}


def test_captions_are_written_in_coco_form_and_it_is_said_what_is_not_computed(folder, run):
    write_data(clip("a", ["a voice", "a buzz"]))
    code, figures, shown = run("caption")
    assert code == 0
    assert figures["sources"] == {"s": {"lines": 1}}
    assert {"METEOR", "CIDEr", "SPICE"} < set(figures["not_computed"])
    results = json.loads(Path(figures["coco"]["s"]["results"]).read_text())
    assert results == [{"audio_id": 0, "caption": predictions()[0]["prediction"]}]
    assert "need Java" in shown.out


def test_ctrl_c_ends_it_and_the_same_command_goes_on(folder, run, heard, monkeypatch):
    write_data(*[clip("b")] * 12)
    add = evaluate.add_prediction

    def interrupted(stream, prediction):
        add(stream, prediction)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "add_prediction", interrupted)
        code, _, shown = run("scene")
    assert code == evaluate.INTERRUPTED
    assert "the same command goes on" in shown.err
    assert len(predictions()) == 1
    asked = len(heard)
    assert asked < 12
    assert run("scene")[1]["lines"] == 12
    assert len(heard) == asked + 11


def test_no_more_clips_are_asked_about_at_a_time_than_the_engine_has_places(folder, run, monkeypatch):
    full, now, most = threading.Event(), [], []

    def counting(self, samples, prompt, limit):
        now.append(1)
        most.append(len(now))
        if len(now) > self.places:
            full.set()
        full.wait(0.5)  # long enough for another, were it let in
        now.pop()
        return "kitchen"

    monkeypatch.setattr(OfficialEngine, "answer", counting)
    monkeypatch.setattr(evaluate, "read_clip", lambda path: (SAMPLES, False))
    write_data(*[clip("b")] * 6)
    assert run("scene")[1]["lines"] == 6
    assert max(most) == 2


def test_what_ends_it_does_not_wait_for_the_answers_that_are_on_their_way(folder, tiny, monkeypatch):
    closed, waited = threading.Event(), []

    def slow(self, samples, prompt, limit):
        if len(samples) == 19_200:
            waited.append(closed.wait(20))
        return "late"

    def interrupt(stream, prediction):
        raise KeyboardInterrupt

    monkeypatch.setattr(OfficialEngine, "answer", slow)
    monkeypatch.setattr(OfficialEngine, "close", lambda self: closed.set())
    monkeypatch.setattr(evaluate, "add_prediction", interrupt)
    write_data(clip("b"), clip("a"))
    arguments = [f"--model={tiny}", "--device=cpu", "--out=p.jsonl", "scene", "data.jsonl"]
    assert evaluate.main(arguments) == evaluate.INTERRUPTED
    assert waited in ([True], [])


@pytest.mark.parametrize("error", [EngineClosed("it has failed"), EngineOutOfMemory("it is full")])
def test_an_engine_that_ends_makes_no_line_bad(folder, run, monkeypatch, error):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr(OfficialEngine, "answer", fail)
    write_data(clip("a"), clip("b"))
    code, figures, shown = run("scene")
    assert (code, figures) == (1, None)
    assert str(error) in shown.err
    assert "left out" not in shown.err


def test_a_clip_that_the_model_fails_at_is_a_bad_line(folder, run, monkeypatch):
    answer = OfficialEngine.answer

    def fail_at_b(self, samples, prompt, limit):
        if len(samples) == 12_800:
            raise AnswerNotFinite("the scores of token 1 are not finite")
        return answer(self, samples, prompt, limit)

    monkeypatch.setattr(OfficialEngine, "answer", fail_at_b)
    write_data(clip("a"), clip("b"))
    code, figures, shown = run("scene")
    assert (code, figures["lines"], figures["bad_lines"]) == (0, 1, 1)
    assert "line 2 is left out: the scores of token 1 are not finite" in shown.err


def test_a_clip_is_cut_at_30_seconds_only_when_it_is_longer(tmp_path):
    for seconds, cut in ((30.0, False), (30.1, True)):
        path = tmp_path / "clip.wav"
        path.write_bytes(wav_bytes(pcm(tone(seconds))))
        samples, was_cut = read_clip(path)
        assert (len(samples), was_cut) == (480_000, cut)


@pytest.fixture(scope="module")
def engine(tiny):
    with OfficialEngine.load(tiny, device="cpu", places=4) as engine:
        yield engine


SAMPLES = (voice(1.5)[:, 0] * 32_767).astype(np.int16)
TIMED = Prompt((Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0)))


def plain_answer(engine, prompt, limit):
    with Engine.open(engine, SAMPLES) as prefix:
        return prefix.branch(prompt, limit).result()


def test_official_decoding_says_what_the_engine_says(engine):
    for limit in (4, 30):
        answer = plain_answer(engine, scene_prompt(), limit)
        assert len(answer.ids) > 3
        assert engine.answer(SAMPLES, scene_prompt(), limit) == answer.text.strip()
        assert engine._generate(SAMPLES, scene_prompt(), limit) == answer.text


@pytest.mark.parametrize(
    ("reason", "ids", "again"),
    [
        (FinishReason.LOOP, (5,) * 24, True),
        (FinishReason.STOP, (9,), True),
        (FinishReason.STOP, (5, 9), False),
        (FinishReason.LENGTH, (5,), False),
    ],
)
def test_a_loop_and_an_empty_answer_are_decoded_to_their_official_end(
    engine, monkeypatch, reason, ids, again
):
    branch = Prefix.branch

    def ending(self, prompt, limit, **more):
        future = branch(self, prompt, limit, **more)
        answer = future.result()
        future._result = type(answer)("short", ids, (0.0,) * len(ids), reason)
        return future

    monkeypatch.setattr(Prefix, "branch", ending)
    whole = engine._generate(SAMPLES, TIMED, 40)
    assert engine.answer(SAMPLES, TIMED, 40) == (whole.strip() if again else "short")


def test_the_first_token_is_never_the_end(engine, monkeypatch):
    end = engine.tokenizer.id_of(Tag.END_OF_TEXT)
    bias = torch.zeros(engine._model.config.vocab_size)
    bias[end] = 1e4

    def loud_end(module, inputs, logits):
        return logits + bias

    hook = engine._model.lm_head.register_forward_hook(loud_end)
    try:
        assert plain_answer(engine, TIMED, 8).text == ""
        assert engine.answer(SAMPLES, TIMED, 8) != ""
    finally:
        hook.remove()


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal():
    console, now = Console(file=io.StringIO(), width=200), [0.0]
    with Meter(console, 10, 2, clock=lambda: now[0]) as meter:
        for seconds in (4.0, 8.0, 12.0, 16.0):
            now[0] = seconds
            meter.advance()
    assert console.file.getvalue() == "5/10 lines, 0.25 lines/s, 0:00:20 left\n"


def test_progress_is_a_bar_on_a_terminal():
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    with Meter(console, 2, 0) as meter:
        meter.advance()
        meter.tell("line 7 is left out: \x1b[31mred")
        meter.advance()
    shown = console.file.getvalue()
    assert "2/2" in shown
    assert "left out: \ufffd[31mred" in shown


def test_the_command_becomes_its_module(monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda path, argv: became.append((path, argv)))
    options = ["--out", "p.jsonl", "--language", "zh", "--limit", "5", "--model", "m", "--device", "cpu"]
    done = CliRunner().invoke(app, ["evaluate", "asr", "d.jsonl", *options])
    assert done.exit_code == 0, done.output
    ((path, argv),) = became
    assert (path, argv[:4]) == (sys.executable, [sys.executable, "-P", "-m", "workers.evaluate"])
    asked = evaluate._parser().parse_args(argv[4:])
    assert vars(asked) == {
        "task": "transcribe",
        "data": Path("d.jsonl"),
        "out": Path("p.jsonl"),
        "language": "zh",
        "target": None,
        "limit": 5,
        "model": "m",
        "device": "cpu",
    }


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sing", "d.jsonl"], "there is no official evaluation 'sing'"),
        (["scene", "d.jsonl", "--language", "en"], "scene takes no --language"),
        (["s2tt", "d.jsonl", "--target", "xx"], "no language 'xx'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_loaded(monkeypatch, arguments, said):
    monkeypatch.setattr(os, "execv", lambda path, argv: pytest.fail("became another process"))
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


def test_a_missing_extra_is_named_with_the_command_to_run(monkeypatch):
    monkeypatch.setattr(command, "PACKAGES", ("rapidfuzz", "no_such_package"))
    done = CliRunner().invoke(app, ["evaluate", "asr", "d.jsonl"])
    assert done.exit_code == 1
    said = " ".join(done.output.split())
    assert "no_such_package. Run pip install -c constraints.txt -e '.[gpu,evaluate]'" in said
