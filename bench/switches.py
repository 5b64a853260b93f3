"""Say what each switch of the engine's tuning costs or gains: ``python -m bench.switches [--quick] [--repeats 3]``.

Every switch is turned alone, from what the device has by default, and timed beside that default in pairs: four tasks
about every chunk, as in ``bench.engine``. Printed are medians of the ratios inside a pair, below 1 where the switch is
faster, and how many answers have the same ids. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from bench.engine import FULL, QUICK, Load
from bench.full_size import ROUNDS, ask, equal_ids
from bench.models import forced_lengths, make_clips, make_model, make_tokenizer
from qwen_audio.tuning import CPU, GPU, Tuning, tuning_of


def switches(base: Tuning, device_type: str) -> dict[str, Tuning]:
    """Return the default with one switch turned, by the switch's name."""
    other = GPU if base.together is CPU.together else CPU
    changes: dict[str, dict[str, Any]] = {
        "together": {"together": other.together},
        "calls": {"call_positions": other.call_positions, "call_frames": other.call_frames},
        "device_features": {"device_features": other.device_features},
        "static" if base.decode == "plain" else "plain": {"decode": other.decode},
    }
    if device_type == "cuda":
        changes |= {"graph": {"decode": "graph"}, "cudnn_attention": {"cudnn_attention": True}}
    return {name: replace(base, **change) for name, change in changes.items()}


def measure(load: Load, device: str, dtype: torch.dtype, repeats: int) -> dict[str, float]:
    """Time every switch beside the default, and compare what comes out."""
    tokenizer = make_tokenizer()
    model = make_model(load.size, tokenizer, dtype=dtype, device=device)
    clips = make_clips([load.seconds] * load.chunks)
    rounds = 1 if device == "cpu" else ROUNDS
    base = tuning_of(device, 2 * load.chunks)  # as a worker's engine has it, see there
    ask(model, tokenizer, clips[:2], load.tasks, base)  # kernels and memory
    figures: dict[str, float] = {}
    for name, tuning in switches(base, device).items():
        ratios, equal = [], []
        for _ in range(repeats):
            plain, _, expected = ask(model, tokenizer, clips, load.tasks, base, rounds)
            seconds, _, ids = ask(model, tokenizer, clips, load.tasks, tuning, rounds)
            ratios.append(seconds / plain)
            equal.append(equal_ids(ids, expected))
        figures |= {name: median(ratios), f"{name}_equal_ids": min(equal)}
        print(
            f"{name:16s} {median(ratios):6.3f} of the default's time ({min(ratios):.3f} to {max(ratios):.3f}), "
            f"{min(equal):.0%} of the answers have the same ids",
            flush=True,
        )
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.switches", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model and short chunks")
    parser.add_argument("--repeats", type=int, default=3, help="pairs for each switch (default 3)")
    options = parser.parse_args(arguments)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    with forced_lengths():
        figures = measure(QUICK if options.quick else FULL, device, dtype, options.repeats)
    print(json.dumps({name: round(value, 3) for name, value in figures.items()}))


if __name__ == "__main__":
    main()
