"""A checkpoint in the official layout learns from a user's lines: the encoder, the language model, or both."""

from __future__ import annotations

import json
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qwen_audio.errors import WrongShape
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from training.export import export
from training.network import Sizes, new_model
from training.run import export_run, start
from training.settings import RunConfig, Schedule
from training.trainer import seed_everything
from training.vocabulary import mini_ranks, mini_tokenizer


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    seed_everything(0)
    model = new_model(
        mini_tokenizer(), Sizes(hidden=32, encoder_layers=1, decoder_layers=1, heads=2, feed_forward=32)
    )
    export(model, mini_ranks(), tmp_path / "base", torch.float32)
    samples = (np.random.default_rng(0).normal(size=16_000) * 3_000).astype("<i2")
    with wave.open(str(tmp_path / "clip.wav"), "wb") as writer:
        writer.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        writer.writeframes(samples.tobytes())
    line = {"audio": "clip.wav", "task": "caption", "target": "rain falls"}
    (tmp_path / "data.jsonl").write_text(
        json.dumps(line) + "\n" + json.dumps({**line, "task": "dance"}) + "\n"
    )
    return RunConfig(
        out=tmp_path / "run",
        data=tmp_path / "data.jsonl",
        base=str(tmp_path / "base"),
        precision="float32",
        schedule=Schedule(steps=12, rate=3e-3, batch_seconds=4),
    )


def changed(model: QwenAudioForConditionalGeneration, base: str) -> set[str]:
    old = QwenAudioForConditionalGeneration.from_pretrained(base, dtype="float32").state_dict()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, old[name])}


def test_both_halves_learn_and_a_bad_line_is_reported(
    config: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = start(config)
    assert "line 2: there is no task 'dance'" in capsys.readouterr().err
    losses = [trainer.step()["answers"] for _ in range(12)]
    assert losses[-1] < 0.8 * losses[0]
    names = changed(trainer.trainee.model, config.base)
    assert any(name.startswith("transformer.audio.") for name in names)
    assert any(name.startswith("transformer.h.") for name in names)


@pytest.mark.parametrize("part", ["encoder", "language_model"])
def test_a_frozen_half_stays_as_it_was(config: RunConfig, part: str) -> None:
    trainer = start(replace(config, freeze=part))
    for _ in range(2):
        trainer.step()
    in_encoder = {
        name.startswith("transformer.audio.") for name in changed(trainer.trainee.model, config.base)
    }
    assert in_encoder == {part != "encoder"}


def test_what_was_tuned_exports_with_the_vocabulary_of_its_base(config: RunConfig, tmp_path: Path) -> None:
    start(config).run(most_steps=1)
    export_run(config, tmp_path / "tuned")
    assert (tmp_path / "tuned" / "qwen.tiktoken").read_bytes() == (
        tmp_path / "base" / "qwen.tiktoken"
    ).read_bytes()
    assert changed(
        QwenAudioForConditionalGeneration.from_pretrained(tmp_path / "tuned", dtype="float32"), config.base
    )


def test_a_base_of_another_shape_is_refused_before_the_first_step(config: RunConfig, tmp_path: Path) -> None:
    path = tmp_path / "base" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_attention_heads": 4}))
    with pytest.raises(WrongShape):
        start(config)
