"""Put a run together from its configuration: takes, tokenizer, model, loader, trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tokenizer import VOCABULARY_FILE, QwenAudioTokenizer, read_ranks
from training import parallel
from training.curriculum import drawer
from training.errors import NoTrainingData
from training.export import export
from training.loader import Loader
from training.mixing import Pool
from training.network import Trainee, new_model
from training.settings import RunConfig
from training.takes import read_shard
from training.trainer import STATE_FILE, Trainer, seed_everything
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
    model.set_attn_implementation("eager")  # in training twice as fast as the fused kernel on a CPU
    draw = drawer(read_pool(config.takes), tokenizer)
    # Each process draws its own examples.
    loader = Loader(draw, seed=config.seed + 1_000 * parallel.rank(), seconds=config.schedule.batch_seconds)
    trainer = Trainer(Trainee(model), loader, config, on_save=on_save)
    trainer.resume()
    return trainer


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


def export_run(config: RunConfig, folder: Path) -> None:
    """Write the model that a run last saved as a checkpoint; raises ``NoTrainingData`` where none was."""
    path = config.out / STATE_FILE
    if not path.is_file():
        raise NoTrainingData(f"{config.out} holds no run: train first")
    _, model = load_or_build(config)
    trainee = Trainee(model)
    trainee.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["trainee"])
    ranks = read_ranks(Path(config.base) / VOCABULARY_FILE) if config.base else mini_ranks()
    export(model, ranks, folder)
