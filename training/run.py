"""Put a run together from its configuration: takes, tokenizer, model, loader, trainer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from qwen_audio.engine import Engine
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tokenizer import VOCABULARY_FILE, QwenAudioTokenizer, read_ranks
from training import parallel
from training.curriculum import drawer
from training.errors import NoTrainingData
from training.evaluation import AT_ONCE, evaluate
from training.export import export
from training.held_out import make_sets
from training.jsonl import draw_from, read_lines
from training.labels import write_labels
from training.loader import Draw, Loader
from training.mixing import Pool
from training.network import Trainee, new_model
from training.settings import RunConfig
from training.takes import read_shard
from training.trainer import STATE_FILE, Progress, Trainer, seed_everything
from training.vocabulary import mini_ranks, mini_tokenizer


def read_pool(folder: Path) -> Pool:
    """Read every shard of takes in a folder; raises ``NoTrainingData``."""
    pool = Pool()
    for path in sorted(folder.glob("*.npz")):
        pool.add(read_shard(path))
    missing = [kind for kind in ("words", "sentence", "foreign", "ground") if not pool.kinds.get(kind)]
    if missing:
        raise NoTrainingData(
            f"{folder} holds no takes of {', '.join(missing)}: make them with python -m training synthesise"
        )
    return pool


def start(config: RunConfig, on_save: Callable[[Trainer], None] | None = None) -> Trainer:
    """Make a trainer for a run, at the point where its folder says it stopped."""
    seed_everything(config.seed)
    tokenizer, model = load_or_build(config)
    model.set_attn_implementation("eager")  # the fused kernel's backward pass is no faster on a CPU
    # Each process draws its own examples.
    seed = config.seed + 1_000 * parallel.rank()
    loader = Loader(_drawer(config, tokenizer, model), seed=seed, seconds=config.schedule.batch_seconds)
    trainee = Trainee(model, tokenizer)
    _freeze(trainee, config.freeze)
    evaluate = _evaluator(config, tokenizer) if parallel.rank() == 0 else None
    trainer = Trainer(trainee, loader, config, evaluate, on_save)
    trainer.resume()
    return trainer


def _drawer(
    config: RunConfig, tokenizer: QwenAudioTokenizer, model: QwenAudioForConditionalGeneration
) -> Draw:
    if config.data is None:
        assert config.takes is not None, "the configuration checks that there is one of the two"
        return drawer(read_pool(config.takes), tokenizer)
    lines = read_lines(
        config.data,
        tokenizer,
        most_positions=model.config.max_position_embeddings,
        stop_at_bad=config.bad_lines == "stop",
    )
    for bad in lines.bad:
        sys.stderr.write(f"{config.data}, line {bad.number}: {bad.reason}\n")
    sys.stderr.write(f"{len(lines.examples)} examples, {len(lines.bad)} bad lines left out\n")
    return draw_from(lines.examples)


def _evaluator(
    config: RunConfig, tokenizer: QwenAudioTokenizer
) -> Callable[[Trainer], dict[str, float]] | None:
    """Return what asks the model in training about held-out clips, through an engine of its own."""
    if config.held_out_clips == 0:
        return None
    sets = make_sets(size=config.held_out_clips)

    def evaluate_now(trainer: Trainer) -> dict[str, float]:
        with Engine(trainer.trainee.model, tokenizer, places=AT_ONCE) as engine:
            return {name: round(value, 2) for name, value in evaluate(engine, sets).items()}

    return evaluate_now


def _freeze(trainee: Trainee, part: str) -> None:
    """Keep the encoder or the language model as it is, as the paper trains them in turn."""
    if not part:
        return
    for name, weight in trainee.model.named_parameters():
        if name.startswith("transformer.audio.") == (part == "encoder"):
            weight.requires_grad_(False)


def load_or_build(config: RunConfig) -> tuple[QwenAudioTokenizer, QwenAudioForConditionalGeneration]:
    """Load the base checkpoint, or build a mini model with random weights."""
    if config.base:
        tokenizer = QwenAudioTokenizer.from_pretrained(config.base)
        return tokenizer, QwenAudioForConditionalGeneration.from_pretrained(config.base, dtype="float32")
    tokenizer = mini_tokenizer()
    return tokenizer, new_model(tokenizer, config.sizes)


def train(config: RunConfig) -> None:
    """Train in this process from where the run stopped to its end."""
    torch.set_num_threads(config.threads)
    start(config).run()


def progress_of(config: RunConfig) -> Progress:
    """Return how far a run was when it was last saved; raises ``NoTrainingData`` where none was."""
    return Progress(**_saved(config)["progress"])


def _saved(config: RunConfig) -> dict[str, Any]:
    path = config.out / STATE_FILE
    if not path.is_file():
        raise NoTrainingData(f"{config.out} holds no run: train first")
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def export_run(config: RunConfig, folder: Path) -> None:
    """Write the model that a run last saved as a checkpoint; raises ``NoTrainingData`` where none was."""
    saved = _saved(config)
    _, model = load_or_build(config)
    prefix = "model."
    model.load_state_dict(
        {
            name.removeprefix(prefix): tensor
            for name, tensor in saved["trainee"].items()
            if name.startswith(prefix)
        }
    )
    ranks = read_ranks(Path(config.base) / VOCABULARY_FILE) if config.base else mini_ranks()
    export(model, ranks, folder, clip_seconds=config.clip_seconds)
    if config.takes is not None:
        write_labels(folder)
