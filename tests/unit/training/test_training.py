"""A run learns, stops, goes on to the same curve, and what it exports loads and answers like any checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.tasks.word_times import parse_word_times
from qwen_audio.engine import Engine
from training.curriculum import drawer
from training.errors import RunMismatch
from training.evaluation import word_times_prompt
from training.examples import Example, encode, word_times_branch
from training.export import export
from training.loader import Loader
from training.mixing import Pool, Stage, mix
from training.network import Sizes, Trainee, Weights, branch_mask, new_model
from training.settings import RunConfig, Schedule
from training.trainer import Trainer, rate_at, seed_everything
from training.vocabulary import mini_ranks, mini_tokenizer


def make_trainer(config: RunConfig, pool: Pool) -> Trainer:
    seed_everything(config.seed)
    tokenizer = mini_tokenizer()
    trainee = Trainee(new_model(tokenizer, config.sizes), tokenizer)
    loader = Loader(drawer(pool, tokenizer), seed=0, seconds=config.schedule.batch_seconds, bucket=24)
    return Trainer(trainee, loader, config)


def test_thirty_steps_from_scratch_lower_the_loss_and_export_loads_and_answers(
    config: RunConfig, pool: Pool, tmp_path: Path
) -> None:
    trainer = make_trainer(config, pool)
    losses = [trainer.step()["loss"] for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    export(trainer.trainee.model, mini_ranks(), tmp_path / "checkpoint")
    with Engine.load(tmp_path / "checkpoint", device="cpu") as engine:
        prefix = engine.open((np.random.default_rng(0).normal(size=16_000) * 0.1).astype(np.float32))
        answer = prefix.branch(word_times_prompt(), 16).result()
    assert answer.ids


def test_an_interrupted_run_resumes_to_the_same_curve(config: RunConfig, pool: Pool, tmp_path: Path) -> None:
    whole = make_trainer(config, pool)
    expected = [whole.step()["loss"] for _ in range(12)]
    part = replace(config, out=tmp_path / "part")
    first = make_trainer(part, pool)
    before = [first.step()["loss"] for _ in range(7)]
    first.save()
    second = make_trainer(part, pool)
    assert second.resume()
    assert second.progress.step == 7
    after = [second.step()["loss"] for _ in range(5)]
    assert before + after == pytest.approx(expected, rel=1e-6)


def test_a_run_of_another_shape_is_refused_before_the_first_step(config: RunConfig, pool: Pool) -> None:
    make_trainer(config, pool).save()
    other = replace(config, sizes=replace(config.sizes, decoder_layers=2))
    with pytest.raises(RunMismatch, match="another shape"):
        make_trainer(other, pool).resume()


@pytest.mark.timeout(600)  # about a minute on an idle core, more beside other work
def test_eight_clips_are_learned_by_heart(config: RunConfig, pool: Pool, tmp_path: Path) -> None:
    tokenizer = mini_tokenizer()
    chance = np.random.default_rng(1)
    clips = []
    while len(clips) < 8:
        clip = mix(pool, Stage(3, 2.0, 0.0, 0.0), chance)
        if clip.words:
            clips.append(clip)
    examples = [encode(clip, [word_times_branch(clip)], tokenizer) for clip in clips]

    def draw(chance: np.random.Generator, progress: float) -> Example:
        return examples[int(chance.integers(8))]

    config = replace(
        config, sizes=Sizes(64, 2, 2, 2, 64), schedule=Schedule(steps=220, rate=3e-3, batch_seconds=8)
    )
    seed_everything(0)
    model = new_model(tokenizer, config.sizes)
    Trainer(Trainee(model, tokenizer), Loader(draw, seed=0, seconds=8, bucket=16), config).run()
    model.eval()
    with Engine(model, tokenizer) as engine, torch.inference_mode():
        for clip in clips:
            heard = _transcribe(engine, clip.mel)
            assert heard == clip.text.split()


def _transcribe(engine: Engine, mel: np.ndarray) -> list[str]:
    prefix = engine.open(np.zeros(len(mel) * 160, np.float32))
    (clip,) = prefix.parts
    clip.features = torch.from_numpy(np.ascontiguousarray(mel.T))
    words, _ = parse_word_times(prefix.branch(word_times_prompt(), 24).result().text, len(mel) * 160)
    prefix.close()
    return [word.text for word in words]


def test_a_branch_in_company_gets_the_loss_that_it_gets_alone(config: RunConfig, pool: Pool) -> None:
    tokenizer = mini_tokenizer()
    trainee = Trainee(new_model(tokenizer, config.sizes), tokenizer).eval()
    loader = Loader(drawer(pool, tokenizer), seed=0, seconds=20, bucket=8)
    batch = loader.next(0.5)
    company = trainee(batch, Weights())["answers"]
    alone = []
    for row in range(len(batch.lengths)):
        for segment in batch.segments[row].unique().tolist():
            if segment <= 0:
                continue
            kept = (batch.segments[row] == 0) | (batch.segments[row] == segment)
            one = replace(
                batch,
                **{
                    name: getattr(batch, name)[row : row + 1]
                    for name in ("features", "lengths", "phonemes", "tracks")
                },
                **{
                    name: getattr(batch, name)[row : row + 1, kept]
                    for name in ("ids", "targets", "segments", "positions")
                },
            )
            alone.append((float(trainee(one, Weights())["answers"].detach()), int((one.targets >= 0).sum())))
    mean = sum(loss * tokens for loss, tokens in alone) / sum(tokens for _, tokens in alone)
    assert float(company.detach()) == pytest.approx(mean, rel=1e-4)


def test_a_branch_sees_the_audio_and_itself_and_nothing_later() -> None:
    seen = branch_mask(torch.tensor([[0, 0, 1, 1, 2, -1]]), torch.float32)[0, 0] == 0
    assert seen.tolist()[3] == [True, True, True, True, False, False]
    assert seen.tolist()[4] == [True, True, False, False, True, False]


def test_the_rate_rises_then_falls_to_nothing() -> None:
    schedule = Schedule(steps=100, rate=1.0, warm_up=0.1)
    rates = [rate_at(step / 100, schedule) for step in range(101)]
    assert max(rates) == pytest.approx(1.0)
    assert rates[0] < rates[5] < rates[10] > rates[50] > rates[99] > rates[100] == 0.0


def test_nobody_is_guided_unless_asked_so_a_trained_model_keeps_its_ways(
    config: RunConfig, pool: Pool
) -> None:
    tokenizer = mini_tokenizer()
    trainee = Trainee(new_model(tokenizer, replace(config.sizes, decoder_layers=2)), tokenizer).train()
    trainee.model.set_attn_implementation("eager")
    batch = Loader(drawer(pool, tokenizer), seed=0, seconds=20, bucket=8).next(0.5)
    assert "guides" not in trainee(batch, Weights())
    assert trainee._looks == []
    guided = trainee(batch, Weights(guides=0.3))
    assert float(guided["guides"].detach()) > 0
    assert trainee._looks == []
