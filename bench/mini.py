"""Measure the mini checkpoint on held-out clips: ``python -m bench.mini [--model FOLDER]``.

Prints the table of figures and what each should reach; the last line is one JSON object. Needs espeak-ng, which
speaks the clips.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from qwen_audio.bundled import MINI_FOLDER
from qwen_audio.engine import Engine
from qwen_audio.loading import WEIGHTS_FILE
from training.evaluation import AT_ONCE, evaluate, measure_speed
from training.held_out import make_sets

GOALS: dict[str, tuple[str, str, float]] = {
    "wer": ("word errors, held-out sentences, known voices", "%, at most", 8),
    "wer_random": ("word errors, random word strings, known voices", "%, at most", 15),
    "wer_new_voice": ("word errors, new voices", "%, at most", 20),
    "no_speech_acc": ("no words for silence, noise, music, sounds", "%, at least", 98),
    "word_time_median_ms": ("word times, median error", "ms, at most", 60),
    "language_acc": ("language (6)", "%, at least", 90),
    "caption_acc": ("caption, word for word", "%, at least", 90),
    "scene_acc": ("scene", "%, at least", 90),
    "emotion_acc": ("emotion (4), mean over labels", "%, at least", 80),
    "instrument_acc": ("instrument", "%, at least", 80),
    "rtfx_2cores": ("seconds heard a second, five tasks in one pass, 2 cores", "x, at least", 5),
    "size_mb": ("size of the weights", "MB, at most", 20),
}


JSON_NAMES = (
    "wer",
    "wer_random",
    "wer_new_voice",
    "no_speech_acc",
    "word_time_median_ms",
    "language_acc",
    "caption_acc",
    "scene_acc",
    "emotion_acc",
    "instrument_acc",
    "pitch_acc",
    "rtfx_2cores",
    "size_mb",
)


def measure(folder: Path, size: int = 120) -> dict[str, float]:
    """Return every figure of a checkpoint."""
    torch.set_num_threads(2)
    sets = make_sets(size=size)
    with Engine.load(folder, device="cpu", places=AT_ONCE) as engine:
        figures = evaluate(engine, sets)
        figures["rtfx_2cores"] = measure_speed(engine, sets["several"])
    figures["size_mb"] = (folder / WEIGHTS_FILE).stat().st_size / 1e6
    return {name: round(value, 1) for name, value in figures.items()}


def table(figures: dict[str, float]) -> str:
    """Write figures as lines, each with its goal and whether it is reached."""
    lines = []
    for name, (what, unit, goal) in GOALS.items():
        value = figures[name]
        reached = value >= goal if "least" in unit else value <= goal
        lines.append(f"{what:58s} {value:7.1f}   goal {goal:g} {unit:12s} {'ok' if reached else 'short'}")
    extra = [name for name in figures if name not in GOALS]
    return "\n".join([*lines, *(f"{name:58s} {figures[name]:7.1f}" for name in extra)])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.mini", description=__doc__)
    parser.add_argument(
        "--model", type=Path, default=MINI_FOLDER, help="folder of the checkpoint (default: the bundled one)"
    )
    parser.add_argument("--size", type=int, default=120, help="clips in a set (default 120)")
    arguments = parser.parse_args()
    figures = measure(arguments.model, arguments.size)
    print(table(figures))
    print(json.dumps({name: figures[name] for name in JSON_NAMES}))


if __name__ == "__main__":
    main()
