"""Ask the engine with a model of random weights, as large as the official one or small: what a GPU is measured with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench.models import (
    OFFICIAL_SIZE,
    QUICK_SIZE,
    TASKS,
    Clip,
    Size,
    Task,
    make_clips,
    make_model,
    make_tokenizer,
)
from bench.roofline import Rates, shares
from qwen_audio.engine import Engine
from qwen_audio.metrics import Metrics
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tokenizer import QwenAudioTokenizer
from qwen_audio.tuning import GPU, Tuning

SECONDS = 30.0  # of each chunk
ROUNDS = 2
PROFILED_TOKENS = 8  # of each answer: events of more take a minute to add up


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    size: Size
    vocabulary_rows: int
    words: int  # tokens of a transcript with word times
    plain: int  # tokens of one without
    places: tuple[int, ...]  # chunks at a time: the first for everything, further ones for comparison
    cells: int  # positions of a room
    batches: tuple[int, ...]  # of the peer
    matrix: int  # side of the matrices whose product gives the card's rate
    copy_bytes: int
    plain_ids: int = 0  # of the vocabulary: each step looks at the scores of all of them


FULL = Scale(OFFICIAL_SIZE, 155_947, 300, 80, (32, 48), 1_280, (8, 16, 32, 64), 8_192, 1 << 31, 151_643)
SMALL = Scale(QUICK_SIZE, 4_096, 6, 4, (2, 3), 1_024, (2,), 256, 1 << 22)


def ask(
    model: QwenAudioForConditionalGeneration,
    tokenizer: QwenAudioTokenizer,
    clips: Sequence[Clip],
    tasks: Sequence[Task],
    tuning: Tuning | None = None,
    rounds: int = ROUNDS,
) -> tuple[float, Metrics, list[tuple[int, ...]]]:
    """Ask all tasks about all clips at once; return the seconds, the counts, and the ids.

    They are asked so many times, and only the last one counts: in the first, memory is taken, kernels are loaded,
    steps recorded.
    """
    with Engine(model, tokenizer, places=len(clips), tuning=tuning) as engine:
        for _ in range(rounds):
            before, began = engine.metrics(), time.perf_counter()
            prefixes = [engine.open(clip) for clip in clips]
            with engine._changed:  # all begin in one plan: each round meets the shapes of the one before
                futures = [prefix.branch(task.prompt, task.tokens) for prefix in prefixes for task in tasks]
            ids = [future.result().ids for future in futures]
            seconds = time.perf_counter() - began
            for prefix in prefixes:
                prefix.close()
        return seconds, since(before, engine.metrics()), ids


def since(before: Metrics, after: Metrics) -> Metrics:
    """Return what was done between two snapshots, of what the roofline asks for."""
    names = (
        "steps", "prefills", "busy_seconds", "encode_seconds", "prefill_seconds", "read_positions", "fed_positions",
        "tokens",
    )  # fmt: skip
    return replace(after, **{name: getattr(after, name) - getattr(before, name) for name in names})


def equal_ids(one: Sequence[tuple[int, ...]], other: Sequence[tuple[int, ...]]) -> float:
    """Return the share of answers with equal ids, of those that both have."""
    pairs = list(zip(one, other, strict=False))
    return sum(ids == others for ids, others in pairs) / len(pairs)


class EngineBench:
    """The engine with a full-size model of random weights."""

    def __init__(self, scale: Scale, dtype: torch.dtype, device: str, rates: Rates) -> None:
        self._scale = scale
        self._rates = rates
        self._tokenizer = make_tokenizer(scale.plain_ids)
        self._model = make_model(
            scale.size, self._tokenizer, dtype=dtype, device=device, vocabulary_rows=scale.vocabulary_rows
        )
        # On a CPU the same steps are computed and not replayed.
        self.ways: dict[str, Tuning] = {
            "": replace(GPU, cells=scale.cells),
            "_replayed": replace(GPU, cells=scale.cells, decode="graph" if device == "cuda" else "static"),
            "_cudnn": replace(GPU, cells=scale.cells, cudnn_attention=True),
        }

    def _ask(
        self, places: int, tasks: Sequence[Task], way: str, turn: int = 0, rounds: int = ROUNDS
    ) -> tuple[float, Metrics, list[tuple[int, ...]]]:
        clips = make_clips([SECONDS] * places)
        tuning = replace(self.ways[way], first_rooms=places)
        return ask(self._model, self._tokenizer, clips[turn:] + clips[:turn], tasks, tuning, rounds)

    def speed(self, name: str, tokens: int, count: int, way: str, places: int) -> dict[str, float]:
        """Measure so many tasks about so many chunks at a time."""
        seconds, metrics, _ = self._ask(places, case_tasks(tokens, count, self._scale), way)
        rtfx = places * SECONDS / seconds
        reached = shares(self._model, self._rates, metrics, SECONDS)
        print(
            f"engine{way}, {name}, {count} tasks, {places} places: {rtfx:8.1f} x real time; of the roofline: "
            f"prefill {reached.prefill:.2f}, decode {reached.decode:.2f}; "
            f"{1_000 * metrics.encode_seconds / places:.1f} ms to encode and "
            f"{1_000 * metrics.prefill_seconds / places:.1f} ms to compute a chunk, "
            f"{1_000 * decode_seconds(metrics) / metrics.steps:.1f} ms a step",
            flush=True,
        )
        more = "" if places == self._scale.places[0] else f"_{places}_places"
        case = f"{name}_{count}{way}{more}"
        return {
            f"rtfx_{case}": rtfx,
            f"prefill_{case}": reached.prefill,
            f"decode_{case}": reached.decode,
            f"decode_reading_{case}": reached.decode_reading,
        }

    def invariance(self, way: str) -> dict[str, float]:
        """Ask about chunks alone and in company, and in two orders of equal shapes."""
        tasks, places = case_tasks(self._scale.plain, 4, self._scale), self._scale.places[0]
        _, _, company = self._ask(places, tasks, way)
        _, _, alone = self._ask(1, tasks, way)
        _, _, turned = self._ask(places, tasks, way, turn=1)
        back = [*turned[-len(tasks) :], *turned[: -len(tasks)]]
        found = {
            f"equal_ids{way}": equal_ids(alone, company),
            f"equal_ids_turned{way}": equal_ids(back, company),
        }
        for name, share in found.items():
            print(f"{name}: {share:.2f} of the answers", flush=True)
        return found

    def profile(self, folder: Path, device: str) -> dict[str, float]:
        """Write down what the engine's thread and the card spend their time on."""
        activities = [torch.profiler.ProfilerActivity.CPU]
        activities += [torch.profiler.ProfilerActivity.CUDA] if device == "cuda" else []
        tasks = case_tasks(PROFILED_TOKENS, 4, self._scale)
        all_threads = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
        with torch.profiler.profile(activities=activities, experimental_config=all_threads) as profiler:
            self._ask(self._scale.places[0], tasks, "", rounds=1)
        order = f"self_{device}_time_total"
        (folder / "profile.txt").write_text(profiler.key_averages().table(sort_by=order, row_limit=40))
        return {}


def decode_seconds(metrics: Metrics) -> float:
    """Return what was spent on prompts and tokens."""
    return metrics.busy_seconds - metrics.encode_seconds - metrics.prefill_seconds


def case_tasks(tokens: int, count: int, scale: Scale) -> tuple[Task, ...]:
    """Return the first tasks; the transcript has so many tokens, and no other has more than a short transcript."""
    first, *others = TASKS
    short = [replace(task, tokens=min(task.tokens, scale.plain)) for task in others]
    return (replace(first, tokens=tokens), *short)[:count]
