"""``earwitness bench``: what is asked, what is counted, and the JSON line that others read."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cli import service
from cli.main import app
from qwen_audio.engine import Engine
from qwen_audio.tiny import write_tiny
from samples import list_samples
from workers import bench


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    return folder


def test_the_last_line_is_json_with_one_task_and_four(tiny, capsys):
    arguments = [f"--model={tiny}", "--device=cpu", "--places=2", "--chunks=3", "--seconds=1.5"]
    assert bench.main(arguments) == 0
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert (found["model"], found["precision"], found["places"]) == (tiny.name, "float32", 2)
    assert (found["chunks"], found["chunk_seconds"]) == (3, 1.5)
    assert found["memory_mb"] > 50
    assert "gpu_memory_mb" not in found
    one, four = found["runs"]
    assert (one["tasks"], four["tasks"]) == (1, 4)
    assert four["tokens"] > one["tokens"] >= 3
    assert four["branches_per_step"] > one["branches_per_step"]
    for run in found["runs"]:
        assert run["rtfx"] == pytest.approx(4.5 / run["seconds"], rel=1e-2)
        assert run["tokens_per_second"] == pytest.approx(run["tokens"] / run["seconds"], rel=1e-2)
        assert 0 < run["slot_use"] <= 1
        assert all(run[f"{part}_ms_per_chunk"] > 0 for part in ("encode", "prefill", "decode"))
    assert "1 task: 3/3 chunks" in said.err
    assert "4 tasks: 3/3 chunks" in said.err


def test_every_question_is_asked_about_every_chunk_once_and_places_come_back(tiny):
    clips, told = bench.make_clips(3, 1.0), []
    with Engine.load(tiny, device="cpu", places=2) as engine:
        bench.ask(engine, clips, bench.make_questions(1.0), told.append)
        metrics = engine.metrics()
        assert engine.free_places == 2
    assert (metrics.encodes, metrics.branches) == (3, 12)
    assert told == [1, 2, 3]


def test_chunks_are_the_bundled_recordings_one_after_the_other():
    clips = bench.make_clips(4, 30.0)
    assert [len(clip) for clip in clips] == [480_000] * 4
    joined = np.concatenate(clips)
    first, _ = bench.read_clip(list_samples()[0].path)
    assert np.array_equal(joined[: len(first)], first)
    assert all(np.abs(clip.astype(int)).max() > 1000 for clip in clips)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model=/nowhere"], "no folder /nowhere"),
        (["--seconds=31"], "--seconds is 0.03 to 30"),
        (["--chunks=0"], "--chunks at least 1"),
        (["--places=2000"], "EARWITNESS_PLACES"),
    ],
)
def test_what_cannot_be_measured_is_said_politely(arguments, said, capsys):
    assert bench.main(arguments) == 1
    assert said in " ".join(capsys.readouterr().err.split())


def test_the_command_becomes_its_module(monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda path, argv: became.append((path, argv)))
    done = CliRunner().invoke(app, ["bench", "--model", "m", "--device", "cpu", "--chunks", "3"])
    assert done.exit_code == 0, done.output
    ((path, argv),) = became
    assert (path, argv[:4]) == (sys.executable, [sys.executable, "-P", "-m", "workers.bench"])
    asked = vars(bench._parser().parse_args(argv[4:]))
    unset = dict.fromkeys(("precision", "weights", "places", "cuda_graphs"))
    assert asked == {"model": "m", "device": "cpu", **unset, "chunks": 3, "seconds": 30.0}


def test_precision_and_weights_can_be_chosen(tiny, capsys):
    arguments = ["--device=cpu", "--precision=bfloat16", "--weights=int8", "--chunks=1", "--seconds=1"]
    assert bench.main([f"--model={tiny}", *arguments]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out.splitlines()[-1])
    assert found["precision"] == "bfloat16"
    assert found["revision"].endswith("-int8")


def test_missing_packages_are_named_before_it_becomes_anything(monkeypatch):
    monkeypatch.setattr(service, "MODEL_PACKAGES", ("no_such_package",))
    monkeypatch.setattr(os, "execv", lambda path, argv: pytest.fail("became another process"))
    done = CliRunner().invoke(app, ["bench"])
    assert done.exit_code == 1
    assert "no_such_package. Run pip install" in " ".join(done.output.split())
