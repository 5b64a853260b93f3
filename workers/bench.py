"""Measure the model on this machine: bundled recordings, one task and then several, through the service's own engine.

``earwitness bench`` becomes this process. Like the GPU worker it reaches torch.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from transformers.utils.logging import disable_progress_bar

from pipeline.errors import AudioError
from pipeline.official.data import read_clip
from pipeline.tasks.caption import Caption, CaptionOptions
from pipeline.tasks.prompts import emotion_prompt, scene_prompt
from pipeline.tasks.transcribe import Transcribe, TranscribeOptions
from qwen_audio.answers import Answer
from qwen_audio.engine import Engine
from qwen_audio.errors import QwenAudioError
from qwen_audio.features import MIN_SAMPLES, SAMPLING_RATE, WINDOW_SAMPLES
from qwen_audio.metrics import Metrics
from qwen_audio.prefix import Prefix
from qwen_audio.tags import Prompt
from samples import list_samples
from settings import InvalidSettings, Settings, load_settings
from workers.checkpoints import find_source, load_options
from workers.meter import printable

INTERRUPTED = 130  # the exit code of a process that Ctrl-C ended
LABEL_TOKENS = 8
OPTIONS = ("model", "device", "precision", "weights", "cuda_graphs", "places")  # settings of the command line
TELL_SECONDS = 2.0  # between two lines of progress

Clip = NDArray[np.int16]


@dataclass(frozen=True)
class Question:
    """What is asked about every chunk, and the most tokens of an answer."""

    prompt: Prompt
    limit: int


@dataclass(frozen=True)
class Run:
    """What one run took. ``slot_use`` is the share of places that held a live chunk, start and end included."""

    tasks: int
    seconds: float
    rtfx: float  # seconds of audio heard in a second
    tokens: int
    tokens_per_second: float
    encode_ms_per_chunk: float
    prefill_ms_per_chunk: float
    decode_ms_per_chunk: float
    slot_use: float
    branches_per_step: float


def make_clips(chunks: int, seconds: float) -> list[Clip]:
    """Join the bundled recordings and cut them into chunks, from the start again where they end."""
    sound = np.concatenate([read_clip(sample.path)[0] for sample in list_samples()])
    length = round(seconds * SAMPLING_RATE)
    repeated = np.tile(sound, -(-chunks * length // len(sound)))
    return [repeated[length * place : length * (place + 1)] for place in range(chunks)]


def make_questions(seconds: float) -> list[Question]:
    """Return a transcript with word times, a caption, an emotion and a scene, as the service asks for them."""
    words, caption = TranscribeOptions(language="en", timestamps="word"), CaptionOptions()
    return [
        Question(Transcribe().prompt(words), Transcribe().limit(words, seconds)),
        Question(Caption().prompt(caption), Caption().limit(caption, seconds)),
        Question(emotion_prompt("en"), LABEL_TOKENS),
        Question(scene_prompt(), LABEL_TOKENS),
    ]


def ask(
    engine: Engine, clips: Sequence[Clip], questions: Sequence[Question], on_chunk: Callable[[int], None]
) -> Run:
    """Ask all questions about all clips, as many at a time as there are places; ``on_chunk`` hears how many ended."""
    before, began = engine.metrics(), time.perf_counter()
    waiting, ended = deque(clips), 0
    opened: dict[Future[Answer], Prefix] = {}
    while waiting or opened:
        while waiting and engine.free_places:
            prefix = engine.open(waiting.popleft())
            opened |= {prefix.branch(one.prompt, one.limit): prefix for one in questions}
        for future in wait(opened, return_when=FIRST_COMPLETED).done:
            prefix = opened.pop(future)
            future.result()
            if prefix not in opened.values():
                prefix.close()
                ended += 1
                on_chunk(ended)
    return _run(len(questions), clips, engine.places, time.perf_counter() - began, before, engine.metrics())


def _run(
    tasks: int, clips: Sequence[Clip], places: int, seconds: float, before: Metrics, after: Metrics
) -> Run:
    def grown(name: str) -> float:
        return float(getattr(after, name) - getattr(before, name))

    busy, encode, prefill = grown("busy_seconds"), grown("encode_seconds"), grown("prefill_seconds")
    a_chunk = 1000 / len(clips)
    return Run(
        tasks=tasks,
        seconds=seconds,
        rtfx=sum(map(len, clips)) / SAMPLING_RATE / seconds,
        tokens=round(grown("tokens")),
        tokens_per_second=grown("tokens") / seconds,
        encode_ms_per_chunk=encode * a_chunk,
        prefill_ms_per_chunk=prefill * a_chunk,
        decode_ms_per_chunk=(busy - encode - prefill) * a_chunk,
        slot_use=grown("chunk_seconds") / (places * busy),
        branches_per_step=grown("branch_seconds") / busy,
    )


def memory_mb(device: torch.device) -> dict[str, float]:
    """Return the most memory that this process has held, and the most on its GPU where it has one, in 10^6 bytes."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    held = {"memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}
    if device.type == "cuda":
        held["gpu_memory_mb"] = torch.cuda.max_memory_allocated(device) / 1e6
    return held


def measure(settings: Settings, chunks: int, seconds: float, err: Console) -> dict[str, Any]:
    """Load the model, ask one task and then four, and return what was found; raises the ``QwenAudioError`` tree."""
    clips = make_clips(chunks, seconds)
    err.print(printable(f"loading {settings.model}"), highlight=False)
    began = time.perf_counter()
    with load_engine(settings) as engine:
        loaded = time.perf_counter() - began
        device = engine.device
        err.print(f"loaded in {loaded:.1f} s; warming up on {_name(device)}", highlight=False)
        ask(engine, [clips[0][: max(MIN_SAMPLES, SAMPLING_RATE)]], make_questions(1.0), lambda ended: None)
        questions = make_questions(seconds)
        runs = [
            ask(engine, clips, asked, _teller(err, asked, chunks)) for asked in (questions[:1], questions)
        ]
        return {
            "model": engine.name,
            "revision": engine.revision,
            "device": _name(device),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "precision": str(engine.dtype).removeprefix("torch."),
            "chunks": chunks,
            "chunk_seconds": seconds,
            "places": engine.places,
            "load_seconds": loaded,
            **memory_mb(device),
            "runs": [asdict(run) for run in runs],
        }


def load_engine(settings: Settings) -> Engine:
    """Load the model as the GPU worker does, without its places for windows."""
    return Engine.load(
        find_source(settings, settings.model), places=settings.places, **load_options(settings)
    )


def _teller(err: Console, questions: Sequence[Question], chunks: int) -> Callable[[int], None]:
    """Return what prints a line of progress now and then."""
    tasks = "1 task" if len(questions) == 1 else f"{len(questions)} tasks"
    began = told = time.monotonic()

    def tell(ended: int) -> None:
        nonlocal told
        now = time.monotonic()
        if ended == chunks or now - told >= TELL_SECONDS:
            told = now
            err.print(f"{tasks}: {ended}/{chunks} chunks, {now - began:.1f} s", highlight=False)

    return tell


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.processor() or platform.machine()})"


def show(found: dict[str, Any], out: Console) -> None:
    """Print a table for people, and as the last line one JSON object for programs."""
    first, last = found["runs"]
    table = Table("", f"{first['tasks']} task", f"{last['tasks']} tasks", box=None)
    for name, digits in (
        ("seconds", 2),
        ("rtfx", 1),
        ("tokens", 0),
        ("tokens_per_second", 1),
        ("encode_ms_per_chunk", 1),
        ("prefill_ms_per_chunk", 1),
        ("decode_ms_per_chunk", 1),
        ("slot_use", 2),
        ("branches_per_step", 1),
    ):
        table.add_row(name, f"{first[name]:.{digits}f}", f"{last[name]:.{digits}f}")
    out.print(
        printable(
            f"{found['model']} in {found['precision']} on {found['device']}, torch {found['torch']}, "
            f"{found['threads']} threads: {found['chunks']} chunks of {found['chunk_seconds']:g} s, "
            f"{found['places']} places"
        ),
        highlight=False,
        soft_wrap=True,
    )
    out.print(table, highlight=False)
    for name in ("load_seconds", "memory_mb", "gpu_memory_mb"):
        if name in found:
            out.print(f"{name}: {found[name]:.1f}", highlight=False)
    out.file.write(json.dumps(_rounded(found)) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; the options are explained by ``earwitness bench --help``."""
    asked = _parser().parse_args(arguments)
    out, err = Console(), Console(stderr=True)
    try:
        chosen = {name: value for name in OPTIONS if (value := getattr(asked, name))}
        settings = load_settings(**chosen)
        if not MIN_SAMPLES <= asked.seconds * SAMPLING_RATE <= WINDOW_SAMPLES or asked.chunks < 1:
            raise InvalidSettings("wrong options: --seconds is 0.03 to 30, --chunks at least 1")
        disable_progress_bar()
        found = measure(settings, asked.chunks, asked.seconds, err)
    except (QwenAudioError, AudioError, InvalidSettings) as error:
        err.print(printable(f"earwitness: {error}"), style="red", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    show(found, out)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.bench", description=__doc__)
    for name in OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int if name == "places" else str)
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=30.0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
