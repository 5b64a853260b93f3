"""Measure the engine beside our own model's ``generate``: ``python -m bench.engine [--quick] [--repeats 3]``.

Every run measures all rows after each other, on the same weights and clips; the table shows medians over the runs,
and ratios are taken inside a run. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import median

import torch

from bench.models import (
    CPU_SIZE,
    QUICK_SIZE,
    TASKS,
    Clip,
    Size,
    Task,
    count_parameters,
    forced_lengths,
    make_clips,
    make_model,
    make_tokenizer,
    shortened,
)
from bench.roofline import measure_rates, shares
from qwen_audio.answers import Answer
from qwen_audio.engine import Engine
from qwen_audio.features import audio_tokens, log_mel, mel_frames
from qwen_audio.metrics import Metrics
from qwen_audio.prefix import Prefix
from qwen_audio.tags import Prompt, Tag
from qwen_audio.tokenizer import AUDIO_PLACEHOLDER, QwenAudioTokenizer

GOALS = {
    "vs_generate_1": ("beside generate, one (chunk, task) at a time", "at least", 4.0),
    "vs_generate_batched": ("beside generate, batches of chunks, task after task", "at least", 3.2),
    "one_task_vs_batched": ("the same with one task: nothing to share", "at least", 1.0),
    "fourth_task_cost": ("a fourth short task beside three, more time", "below", 0.10),
    "slot_use": ("mixed lengths: places with a live chunk while work waits", "at least", 0.90),
    "encodes_per_chunk": ("encoder calls per chunk", "exactly", 1.0),
}


TIMED = (
    "generate_1",
    "generate_batched",
    "generate_batched_one_task",
    "engine_four",
    "engine_three",
    "engine_one",
)
COPY_BYTES = 1 << 27


@dataclass(frozen=True)
class Load:
    """What is measured: a model, chunks and tasks."""

    size: Size
    chunks: int
    seconds: float  # of each chunk
    tasks: tuple[Task, ...]
    mixed_chunks: int


FULL = Load(CPU_SIZE, chunks=16, seconds=30.0, tasks=TASKS, mixed_chunks=32)
QUICK = Load(QUICK_SIZE, chunks=4, seconds=8.0, tasks=shortened(TASKS, 12), mixed_chunks=12)


class Bench:
    """A model with its clips, ready to be asked in each way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.tokenizer = make_tokenizer()
        self.model = make_model(load.size, self.tokenizer)
        self.clips = make_clips([load.seconds] * load.chunks)

    def run(self) -> dict[str, float]:
        """Measure every way once, in seconds; each is printed as soon as it is known."""
        tasks, chunks = self.load.tasks, self.load.chunks
        rates = measure_rates(2 * self.load.size.hidden, COPY_BYTES, self.model.dtype, "cpu")
        four, metrics = self.engine(tasks)
        reached = shares(self.model, rates, metrics, self.load.seconds)
        found = {
            "engine_four": four,
            "encodes_per_chunk": metrics.encodes / chunks,
            "prefilled_per_chunk": metrics.prefilled_positions / chunks,
            "fed_per_chunk": metrics.fed_positions / chunks,
            "prefill": reached.prefill,
            "decode": reached.decode,
            "decode, if only what it reads counted": reached.decode_reading,
        }
        print(f"  engine_four {four:.2f} s", flush=True)
        batched = [self.generate(task, batch=chunks) for task in tasks]
        found |= {"generate_batched": sum(batched), "generate_batched_one_task": batched[0]}
        print(f"  generate_batched {sum(batched):.2f} s, of it one task {batched[0]:.2f} s", flush=True)
        found["engine_three"], _ = self.engine(tasks[:3])
        found["engine_one"], _ = self.engine(tasks[:1])
        print(f"  engine_three {found['engine_three']:.2f} s, one {found['engine_one']:.2f} s", flush=True)
        found["generate_1"] = sum(self.generate(task, batch=1) for task in tasks)
        print(f"  generate_1 {found['generate_1']:.2f} s", flush=True)
        return found

    def generate(self, task: Task, batch: int) -> float:
        """Ask one task about every chunk with ``generate``, so many chunks in a batch; return the seconds."""
        began = time.perf_counter()
        for begin in range(0, len(self.clips), batch):
            inputs = generate_inputs(self.tokenizer, self.clips[begin : begin + batch], task.prompt)
            ids = self.model.generate(
                **inputs,  # type: ignore[arg-type]  # transformers types its first parameter alone
                max_new_tokens=task.tokens,
                min_new_tokens=task.tokens,
                do_sample=False,
                pad_token_id=0,
            )
            assert ids.shape[1] == inputs["input_ids"].shape[1] + task.tokens
        return time.perf_counter() - began

    def engine(self, tasks: Sequence[Task]) -> tuple[float, Metrics]:
        """Ask all tasks about every chunk through the engine; return the seconds and what it counted."""
        with Engine(self.model, self.tokenizer, places=len(self.clips)) as engine:
            began = time.perf_counter()
            asked = []
            for clip in self.clips:
                prefix = engine.open(clip)
                asked += [(prefix.branch(task.prompt, task.tokens), task) for task in tasks]
            for future, task in asked:
                assert len(future.result().ids) == task.tokens, "an answer ended by itself"
            return time.perf_counter() - began, engine.metrics()

    def mixed(self, places: int) -> tuple[float, float]:
        """Feed chunks of 1 to 30 s with answers of 4 to 200 tokens; return the shares of places and of branches.

        A place is used while a branch grows on its chunk, or its prefix is being computed. Counted is from the
        moment when every place has had a chunk until no chunk waits any more.
        """
        draw = random.Random(0)  # noqa: S311  # no secret
        longest = self.load.seconds
        clips = make_clips([draw.uniform(1, longest) for _ in range(self.load.mixed_chunks)])
        longest_answer = 200 if self.load.seconds == 30 else 40
        limits = [[draw.randint(4, longest_answer) for _ in self.load.tasks] for _ in clips]
        with Engine(self.model, self.tokenizer, places=places) as engine:
            before, after = feed(engine, list(zip(clips, limits, strict=True)), self.load.tasks)
        busy = after.busy_seconds - before.busy_seconds
        chunks = (after.chunk_seconds - before.chunk_seconds) / (places * busy)
        branches = (after.branch_seconds - before.branch_seconds) / (places * len(self.load.tasks) * busy)
        return chunks, branches


def feed(
    engine: Engine, chunks: list[tuple[Clip, list[int]]], tasks: Sequence[Task]
) -> tuple[Metrics, Metrics]:
    """Keep every place filled; return the metrics after the first filling and when nothing waits any more."""
    waiting = deque(chunks)
    open_chunks: list[tuple[Prefix, list[Future[Answer]]]] = []
    before = after = engine.metrics()
    while waiting or open_chunks:
        while waiting and engine.free_places:
            clip, limits = waiting.popleft()
            prefix = engine.open(clip)
            futures = [prefix.branch(task.prompt, most) for task, most in zip(tasks, limits, strict=True)]
            open_chunks.append((prefix, futures))
            after = engine.metrics()
        if not before.steps and engine.metrics().prefills >= engine.places:
            before = engine.metrics()
        for prefix, futures in [chunk for chunk in open_chunks if all(future.done() for future in chunk[1])]:
            open_chunks.remove((prefix, futures))
            prefix.close()
        time.sleep(0.0005)
    return before, after


def generate_inputs(
    tokenizer: QwenAudioTokenizer, clips: Sequence[Clip], prompt: Prompt
) -> dict[str, torch.Tensor]:
    """Prepare clips of one length for ``generate``, as a script does."""
    frames = [mel_frames(len(clip)) for clip in clips]
    place = tokenizer.encode_template(AUDIO_PLACEHOLDER)
    ids = [
        [
            tokenizer.id_of(Tag.AUDIO_START),
            *place * audio_tokens(length),
            tokenizer.id_of(Tag.AUDIO_END),
            *tokenizer.encode_prompt(prompt),
        ]
        for length in frames
    ]
    return {
        "input_ids": torch.tensor(ids),
        "attention_mask": torch.ones(len(ids), len(ids[0]), dtype=torch.long),
        "input_features": torch.stack([log_mel(clip) for clip in clips]),
        "feature_lengths": torch.tensor(frames),
    }


def figures(runs: Sequence[dict[str, float]], slot_use: float) -> dict[str, float]:
    """Take ratios inside each run, and their medians."""

    def middle(name: str, beside: str) -> float:
        return median(run[name] / run[beside] for run in runs)

    return {
        "vs_generate_1": middle("generate_1", "engine_four"),
        "vs_generate_batched": middle("generate_batched", "engine_four"),
        "one_task_vs_batched": middle("generate_batched_one_task", "engine_one"),
        "fourth_task_cost": middle("engine_four", "engine_three") - 1,
        "slot_use": slot_use,
        "encodes_per_chunk": max(run["encodes_per_chunk"] for run in runs),
    }


def is_reached(name: str, value: float) -> bool:
    """Compare a figure with its goal."""
    _, how, goal = GOALS[name]
    return {"at least": value >= goal, "below": value < goal, "exactly": value == goal}[how]


def show(bench: Bench, runs: Sequence[dict[str, float]], found: dict[str, float], branch_use: float) -> None:
    """Print the table."""
    load = bench.load
    tokens = "/".join(str(task.tokens) for task in load.tasks)
    audio = load.chunks * load.seconds
    print(
        f"{count_parameters(bench.model) / 1e6:.1f} M parameters beside embeddings, {load.chunks} chunks of "
        f"{load.seconds:g} s, tasks of {tokens} tokens, {torch.get_num_threads()} threads, {len(runs)} runs"
    )
    for name in TIMED:
        seconds = [run[name] for run in runs]
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(
            f"  {name:26s} {median(seconds):8.2f} s  ({spread}), {audio / median(seconds):6.1f} x real time"
        )
    for name, (what, how, goal) in GOALS.items():
        reached = "ok" if is_reached(name, found[name]) else "short"
        print(f"{what:58s} {found[name]:7.3f}   goal {how} {goal:g}   {reached}")
    print(f"{'mixed lengths: live branches of those that places could hold':58s} {branch_use:7.3f}")
    print("shares of the roofline, at the rates of this machine:")
    for part in ("prefill", "decode", "decode, if only what it reads counted"):
        print(f"  {part:56s} {median(run[part] for run in runs):7.3f}")
    print(f"{'prefilled positions per chunk':58s} {runs[0]['prefilled_per_chunk']:7.1f}")
    print(f"{'positions of prompts and answers fed per chunk':58s} {runs[0]['fed_per_chunk']:7.1f}")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.engine", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small model and short chunks")
    parser.add_argument("--repeats", type=int, default=3, help="paired runs (default 3)")
    arguments = parser.parse_args()
    bench = Bench(QUICK if arguments.quick else FULL)
    with forced_lengths():
        slot_use, branch_use = bench.mixed(places=max(2, bench.load.chunks // 2))
        print(f"  slot_use {slot_use:.3f}, of branches {branch_use:.3f}", flush=True)
        runs = [bench.run() for _ in range(arguments.repeats)]
    found = figures(runs, slot_use)
    show(bench, runs, found, branch_use)
    print(json.dumps({name: round(value, 3) for name, value in found.items()}))


if __name__ == "__main__":
    main()
