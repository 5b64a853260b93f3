"""Say what bfloat16 and int8 weights change: ``python -m bench.precision [--size 40] [--device cpu]``.

The bundled model is asked about held-out clips in four ways, each beside float32 with full weights; a larger model of
random weights says what each way costs in time and memory. On a CPU time is that of one thread at work, so that other
processes hardly show. The last line is one JSON object. Needs espeak-ng, which speaks the clips.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from unittest.mock import patch

import torch

from bench.models import CPU_SIZE, TASKS, Size, forced_lengths, make_clips, make_model, make_tokenizer
from pipeline.tasks.prompts import emotion_prompt, scene_prompt
from pipeline.tasks.word_times import parse_word_times
from qwen_audio.answers import Answer
from qwen_audio.bundled import MINI_FOLDER
from qwen_audio.engine import Engine
from qwen_audio.int8 import round_layers
from qwen_audio.streaming import load_model
from qwen_audio.tags import Prompt
from qwen_audio.tokenizer import QwenAudioTokenizer
from training.clips import Clip
from training.evaluation import AT_ONCE, CAPTION_TOKENS, LABEL_TOKENS, edit_alignment, word_times_prompt
from training.examples import caption_branch
from training.held_out import make_sets

SETS = ("sentences", "random", "new_voice", "sounds")  # the last one has no words
TOKENS_PER_FRAME = 0.16
CHUNKS, SECONDS = 4, 30.0  # of the larger model


@dataclass(frozen=True)
class Way:
    """How a model is kept and computed."""

    dtype: torch.dtype
    int8: bool

    @property
    def name(self) -> str:
        """Return it for a table."""
        return str(self.dtype).removeprefix("torch.") + ("_int8" if self.int8 else "")


WAYS = tuple(Way(dtype, int8) for dtype in (torch.float32, torch.bfloat16) for int8 in (False, True))


def hear(way: Way, clips: Sequence[Clip], device: str) -> list[list[Answer]]:
    """Ask the bundled model for words, caption, emotion and scene of every clip."""
    model = load_model(MINI_FOLDER, device, way.dtype, int8=way.int8)
    answers = []
    with Engine(model, QwenAudioTokenizer.from_pretrained(MINI_FOLDER), places=AT_ONCE) as engine:
        for begin in range(0, len(clips), AT_ONCE):
            prefixes = [
                engine.open(clip.samples)
                for clip in clips[begin : begin + AT_ONCE]
                if clip.samples is not None
            ]
            asked = [
                [prefix.branch(prompt, limit) for prompt, limit in questions(prefix.audio_seconds)]
                for prefix in prefixes
            ]
            answers += [[future.result() for future in futures] for futures in asked]
            for prefix in prefixes:
                prefix.close()
    return answers


def questions(seconds: float) -> list[tuple[Prompt, int]]:
    """Return what is asked about a clip of so many seconds, and the most tokens of each answer."""
    return [
        (word_times_prompt(), max(32, round(100 * seconds * TOKENS_PER_FRAME))),
        (caption_branch(Clip()).prompt, CAPTION_TOKENS),
        (emotion_prompt("en"), LABEL_TOKENS),
        (scene_prompt(), LABEL_TOKENS),
    ]


def differences(
    clips: Sequence[Clip], answers: Sequence[Sequence[Answer]], beside: Sequence[Sequence[Answer]]
) -> dict[str, float]:
    """Say in per cent which answers and ids stayed, and how many words are wrong, beside other answers and the truth.

    Ids are counted up to the first that differs: what follows it continues another text.
    """
    same = ids = kept = wrong = words = moved = 0
    for clip, asked, others in zip(clips, answers, beside, strict=True):
        for answer, other in zip(asked, others, strict=True):
            same += answer.ids == other.ids
            ids += len(other.ids)
            pairs = enumerate(zip(answer.ids, other.ids, strict=False))
            kept += next(
                (place for place, (one, two) in pairs if one != two), min(len(answer.ids), len(other.ids))
            )
        said, other_said = _words(asked[0], clip), _words(others[0], clip)
        true = [word.text for word in clip.words]
        wrong += edit_alignment(true, said)[0]
        moved += edit_alignment(other_said, said)[0]
        words += len(true)
    count = sum(map(len, answers))
    return {
        "answers_kept": 100 * same / count,
        "ids_kept": 100 * kept / ids,
        "wer": 100 * wrong / words,
        "words_moved": 100 * moved / words,
    }


def _words(answer: Answer, clip: Clip) -> list[str]:
    return [word.text for word in parse_word_times(answer.text, clip.frames * 160)[0]]


@contextmanager
def working_time() -> Iterator[None]:
    """Let the engine count the time that this process is at work, with one thread, instead of the time that passes."""
    clock, threads = SimpleNamespace(monotonic=time.process_time), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ExitStack() as stack:
            for module in ("engine", "encoding", "intake"):
                stack.enter_context(patch(f"qwen_audio.{module}.time", clock))
            yield
    finally:
        torch.set_num_threads(threads)


def costs(way: Way, size: Size, device: str, chunks: int, seconds: float) -> dict[str, float]:
    """Ask a model of random weights four tasks about chunks; return seconds of each part, and megabytes of weights."""
    tokenizer = make_tokenizer()
    model = make_model(size, tokenizer, dtype=way.dtype, device=device)
    if way.int8:
        round_layers(model.transformer.h)
    clips = make_clips([seconds] * chunks)
    with Engine(model, tokenizer, places=chunks) as engine:
        for count in (1, chunks):  # the first time only warms up
            before = engine.metrics()
            prefixes = [engine.open(clip) for clip in clips[:count]]
            futures = [prefix.branch(task.prompt, task.tokens) for prefix in prefixes for task in TASKS]
            for future in futures:
                future.result()
            for prefix in prefixes:
                prefix.close()
        after = engine.metrics()
    encode = after.encode_seconds - before.encode_seconds
    prefill = after.prefill_seconds - before.prefill_seconds
    return {
        "encode_seconds": encode,
        "prefill_seconds": prefill,
        "decode_seconds": after.busy_seconds - before.busy_seconds - encode - prefill,
        "layers_mb": sum(tensor.nbytes for tensor in model.transformer.h.state_dict().values()) / 1e6,
    }


def measure(
    size: int,
    repeats: int,
    device: str,
    large: Size = CPU_SIZE,
    chunks: int = CHUNKS,
    seconds: float = SECONDS,
) -> dict[str, dict[str, float]]:
    """Return every figure of every way; of its times the fewest seconds of several turns, way after way."""
    sets = make_sets(size=size)
    clips = [clip for name in SETS for clip in sets[name]]
    beside = hear(WAYS[0], clips, device)
    found = {}
    for way in WAYS:
        answers = beside if way is WAYS[0] else hear(way, clips, device)
        found[way.name] = differences(clips, answers, beside)
        print(_line(way, found[way.name]), flush=True)
    for _ in range(repeats):
        for way in WAYS:
            with forced_lengths(), working_time() if device == "cpu" else nullcontext():
                taken = costs(way, large, device, chunks, seconds)
            print(_line(way, taken), flush=True)
            kept = found[way.name]
            found[way.name] |= {name: min(value, kept.get(name, value)) for name, value in taken.items()}
    return found


def _line(way: Way, figures: dict[str, float]) -> str:
    return f"{way.name:14s} " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.precision", description=__doc__)
    parser.add_argument("--size", type=int, default=40, help="clips in a set (default 40)")
    parser.add_argument("--repeats", type=int, default=3, help="turns of the timed part (default 3)")
    parser.add_argument("--device", default="cpu", help="cpu (the default) or cuda")
    asked = parser.parse_args(arguments)
    found = measure(asked.size, asked.repeats, asked.device)
    rounded = {
        way: {name: round(value, 2) for name, value in figures.items()} for way, figures in found.items()
    }
    print(json.dumps(rounded))


if __name__ == "__main__":
    main()
