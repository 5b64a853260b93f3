"""Measure the engine at full size on one GPU: ``python -m bench.engine_gpu``; ``--small`` runs it anywhere.

Prints the card's own rates, the engine's speed for one and four tasks beside the roofline that follows from them, and
transformers' Qwen2-Audio of the same size with ``generate`` at its best batch; the last line is one JSON object.
It has been run at its small size on a CPU only: no GPU was at hand when it was written.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from bench.models import (
    OFFICIAL_SIZE,
    QUICK_SIZE,
    TASKS,
    Clip,
    Size,
    Task,
    forced_lengths,
    make_clips,
    make_model,
    make_tokenizer,
)
from bench.peer import Peer
from bench.roofline import Rates, measure_rates, shares
from qwen_audio.engine import Engine
from qwen_audio.metrics import Metrics
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tokenizer import QwenAudioTokenizer
from qwen_audio.tuning import Tuning

SECONDS = 30.0  # of each chunk


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    size: Size
    vocabulary_rows: int
    words: int  # tokens of a transcript with word times
    plain: int  # tokens of one without
    places: int
    batches: tuple[int, ...]  # of the peer
    matrix: int  # side of the matrices whose product gives the card's rate
    copy_bytes: int


FULL = Scale(OFFICIAL_SIZE, 155_947, 300, 80, 32, (8, 16, 32), 8_192, 1 << 31)
SMALL = Scale(QUICK_SIZE, 4_096, 6, 4, 2, (2,), 256, 1 << 22)


def ask(
    model: QwenAudioForConditionalGeneration,
    tokenizer: QwenAudioTokenizer,
    clips: Sequence[Clip],
    tasks: Sequence[Task],
    tuning: Tuning | None = None,
) -> tuple[float, Metrics, list[tuple[int, ...]]]:
    """Ask all tasks about all clips at once; return the seconds, the counts, and the ids.

    Steps that are replayed are asked twice, and only the second time counts: the first one records.
    """
    rounds = 1 if tuning is None or tuning.decode == "plain" else 2
    with Engine(model, tokenizer, places=len(clips), tuning=tuning) as engine:
        for _ in range(rounds):
            before, began = engine.metrics(), time.perf_counter()
            prefixes = [engine.open(clip) for clip in clips]
            futures = [prefix.branch(task.prompt, task.tokens) for prefix in prefixes for task in tasks]
            ids = [future.result().ids for future in futures]
            seconds = time.perf_counter() - began
            for prefix in prefixes:
                prefix.close()
        return seconds, since(before, engine.metrics()), ids


def since(before: Metrics, after: Metrics) -> Metrics:
    """Return what was done between two snapshots, of what the roofline asks for."""
    names = ("steps", "prefills", "busy_seconds", "encode_seconds", "prefill_seconds", "chunk_seconds")
    return replace(after, **{name: getattr(after, name) - getattr(before, name) for name in names})


def is_invariant(
    model: QwenAudioForConditionalGeneration,
    tokenizer: QwenAudioTokenizer,
    clips: Sequence[Clip],
    tasks: Sequence[Task],
    tuning: Tuning | None = None,
) -> float:
    """Ask the first chunk alone and in company; return the share of answers with equal ids."""
    _, _, alone = ask(model, tokenizer, clips[:1], tasks, tuning)
    _, _, company = ask(model, tokenizer, clips, tasks, tuning)
    return sum(one == other for one, other in zip(alone, company, strict=False)) / len(alone)


def measure_engine(scale: Scale, dtype: torch.dtype, device: str, rates: Rates) -> dict[str, float]:
    """Measure one and four tasks, with and without word times."""
    tokenizer = make_tokenizer()
    model = make_model(
        scale.size, tokenizer, dtype=dtype, device=device, vocabulary_rows=scale.vocabulary_rows
    )
    clips = make_clips([SECONDS] * scale.places)
    figures: dict[str, float] = {}
    ask(model, tokenizer, clips[:2], case_tasks(scale.plain, 4, scale))  # kernels and memory
    # On a CPU the same steps are computed and not replayed.
    ways = {"": Tuning(), "_replayed": Tuning(decode="graph" if device == "cuda" else "static")}
    for name, tokens in (("words", scale.words), ("plain", scale.plain)):
        for count in (1, 4):
            for way, tuning in ways.items():
                seconds, metrics, _ = ask(model, tokenizer, clips, case_tasks(tokens, count, scale), tuning)
                rtfx = len(clips) * SECONDS / seconds
                prefill, decode = shares(model, rates, metrics, SECONDS)
                print(
                    f"engine{way}, {name}, {count} tasks: {rtfx:8.1f} x real time; of the roofline: "
                    f"prefill {prefill:.2f}, decode {decode:.2f}",
                    flush=True,
                )
                figures[f"rtfx_{name}_{count}{way}"] = rtfx
                figures[f"prefill_{name}_{count}{way}"] = prefill
                figures[f"decode_{name}_{count}{way}"] = decode
    for way, tuning in ways.items():
        equal = is_invariant(model, tokenizer, clips, case_tasks(scale.plain, 4, scale), tuning)
        figures[f"equal_ids{way}"] = equal
        print(f"engine{way}: answers with the same ids alone and in company: {equal:.2f}", flush=True)
    return figures


def measure_peer(scale: Scale, dtype: torch.dtype, device: str) -> dict[str, float]:
    """Measure the peer's best batch for four tasks, and its time for each kind of transcript."""
    peer = Peer(scale.size, dtype, device, scale.vocabulary_rows)
    figures: dict[str, float] = {}
    for name, tokens in (("plain", scale.plain), ("words", scale.words)):
        tasks = case_tasks(tokens, 4, scale)
        for batch in scale.batches:
            try:
                rtfx = batch * SECONDS / peer.seconds(tasks, batch)
            except torch.OutOfMemoryError:
                print(f"generate, {name}, batch {batch}: out of memory", flush=True)
                continue
            print(f"generate, {name}, 4 tasks, batch {batch}: {rtfx:8.1f} x real time", flush=True)
            figures[f"peer_{name}_4"] = max(rtfx, figures.get(f"peer_{name}_4", 0.0))
    return figures


def case_tasks(tokens: int, count: int, scale: Scale) -> tuple[Task, ...]:
    """Return the first tasks; the transcript has so many tokens, and no other has more than a short transcript."""
    first, *others = TASKS
    short = [replace(task, tokens=min(task.tokens, scale.plain)) for task in others]
    return (replace(first, tokens=tokens), *short)[:count]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine_gpu", description=__doc__)
    parser.add_argument("--small", action="store_true", help="a small model, on whatever there is")
    small = parser.parse_args(arguments).small
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu" and not small:
        parser.error("there is no GPU here: --small runs anywhere")
    scale, dtype = (SMALL, torch.float32) if device == "cpu" else (SMALL if small else FULL, torch.bfloat16)
    began = time.perf_counter()
    card = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    print(f"{card}, torch {torch.__version__}, {dtype}")
    rates = measure_rates(scale.matrix, scale.copy_bytes, dtype, device)
    print(f"copy {rates.bytes_per_second / 1e9:.0f} GB/s, matrices {rates.flops / 1e12:.2f} TFLOP/s")
    with forced_lengths():
        figures = measure_engine(scale, dtype, device, rates)
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    figures |= measure_peer(scale, dtype, device)
    for name in ("words", "plain"):
        if f"peer_{name}_4" in figures:
            for way in ("", "_replayed"):
                figures[f"vs_peer_{name}{way}"] = figures[f"rtfx_{name}_4{way}"] / figures[f"peer_{name}_4"]
    print(f"all of it took {time.perf_counter() - began:.0f} s")
    print(json.dumps({name: float(f"{value:.3g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
