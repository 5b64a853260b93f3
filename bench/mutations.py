"""Damage recordings of five formats in three hundred ways, and see that each gets an answer and no process dies.

``python -m bench.mutations [--seed 0] [--count 300]``. Each mutant goes through all that a CPU worker does with it: the
decode child, the speech model, the chunk plan. The last line is one JSON object. A *death* is a worker that ended, or a
decode child that ended without its report; an outcome is *outside the enum* when it is neither a timeline nor one of
``pipeline.errors``.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np

from pipeline.decode import DecodeOptions
from pipeline.errors import AudioError
from pipeline.ingest import ingest

FORMATS = {"wav": "pcm_s16le", "mp3": "libmp3lame", "flac": "flac", "ogg": "libopus", "m4a": "aac"}
SECONDS = 2.0  # of each recording
RATE = 48_000  # Hz
HEAD_BYTES = 512
SHARES = {"bit flips": 100, "truncation": 50, "splice": 50, "header extremes": 50, "zero run": 50}  # of 300
DEATH = "decode_crashed"
LIMITS = DecodeOptions(max_seconds=600.0, stall_seconds=20.0)


@dataclass(frozen=True)
class Mutant:
    """A damaged file."""

    name: str  # what was done to what, as it can be asked for again
    content: bytes


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: a code of ``pipeline.errors``, ``timeline``, or the name of an exception."""

    code: str
    seconds: float
    in_enum: bool = True
    cpu_seconds: float = 0.0  # of worker and child: what a busy machine does not change


def originals(folder: Path) -> Mapping[str, bytes]:
    """Return a whole recording in each format: a voice-like buzz in noise, so that no frame is like another."""
    times = np.arange(round(SECONDS * RATE)) / RATE
    wave = 0.3 * np.sign(np.sin(2 * np.pi * 140 * times)) * np.abs(np.sin(2 * np.pi * 1.5 * times))
    wave += np.random.default_rng(0).normal(0, 0.02, len(times))
    return {name: _encode(folder / f"whole.{name}", wave, codec) for name, codec in FORMATS.items()}


def _encode(path: Path, wave: np.ndarray, codec: str) -> bytes:
    samples = np.rint(32_767 * wave.clip(-1, 1)).astype(np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path.read_bytes()


def mutants(whole: Mapping[str, bytes], seed: int, count: int = 300) -> Sequence[Mutant]:
    """Return ``count`` mutants, each kind in its share, formats in turn; the same for the same seed."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    spread = [kinds[index * len(kinds) // count] for index in range(count)] if count <= len(kinds) else kinds
    names = list(whole)
    made = []
    for index, kind in enumerate(spread):
        name = names[index % len(names)]
        chance = random.Random(f"{seed} {index} {count}")  # noqa: S311  # repeatable, guards nothing
        other = whole[names[(index + 1 + index // len(names)) % len(names)]]
        made.append(Mutant(f"{index} {name} {kind}", _KINDS[kind](whole[name], other, chance)))
    return made


def _flip_bits(whole: bytes, other: bytes, chance: random.Random) -> bytes:
    changed = bytearray(whole)
    for _ in range(chance.choice([1, 2, 8, 64])):
        changed[chance.randrange(min(HEAD_BYTES, len(changed)))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _truncate(whole: bytes, other: bytes, chance: random.Random) -> bytes:
    return whole[: chance.choice([chance.randrange(1, 64), chance.randrange(len(whole))])]


def _splice(whole: bytes, other: bytes, chance: random.Random) -> bytes:
    """Go over into another format somewhere, at the other's beginning or in its middle."""
    begin = chance.choice([0, chance.randrange(len(other))])
    return whole[: chance.randrange(len(whole))] + other[begin:]


def _write_extremes(whole: bytes, other: bytes, chance: random.Random) -> bytes:
    """Put the least and the greatest numbers where a header may keep sizes, rates and counts."""
    changed = bytearray(whole)
    for _ in range(chance.choice([1, 2, 4])):
        value = chance.choice([0, 1, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF])
        width, order = chance.choice([("H", 2), ("I", 4), ("Q", 8)]), chance.choice("<>")
        field = struct.pack(order + width[0], value * 0x1_0000_0001 % (1 << 8 * width[1]))
        place = chance.randrange(min(HEAD_BYTES, len(changed)) - 8)
        changed[place : place + len(field)] = field
    return bytes(changed)


def _zero(whole: bytes, other: bytes, chance: random.Random) -> bytes:
    start = chance.randrange(len(whole))
    length = chance.randrange(1, len(whole) - start + 1)
    return whole[:start] + bytes(length) + whole[start + length :]


_KINDS: Mapping[str, Callable[[bytes, bytes, random.Random], bytes]] = {
    "bit flips": _flip_bits,
    "truncation": _truncate,
    "splice": _splice,
    "header extremes": _write_extremes,
    "zero run": _zero,
}


def judge(content: bytes) -> Outcome:
    """Ingest a mutant as a worker does and say how that ended."""
    began = _cpu_seconds()
    outcome = _judge(content)
    return replace(outcome, cpu_seconds=_cpu_seconds() - began)


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _judge(content: bytes) -> Outcome:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        began = time.monotonic()
        try:
            ingested = ingest(file, lambda block: None, LIMITS)
        except AudioError as error:
            return Outcome(error.code, time.monotonic() - began)
        except Exception as error:  # noqa: BLE001  # the very thing that is looked for becomes a name in the count
            return Outcome(type(error).__name__, time.monotonic() - began, in_enum=False)
        seconds = time.monotonic() - began
    return Outcome(ingested.warnings[0].code if ingested.warnings else "timeline", seconds)


def judge_all(made: Sequence[Mutant]) -> list[tuple[Mutant, Outcome | None]]:
    """Judge every mutant in a worker process; None stands for one that took its worker down."""
    judged: list[tuple[Mutant, Outcome | None]] = []
    spawn = multiprocessing.get_context("spawn")
    while len(judged) < len(made):
        with ProcessPoolExecutor(1, mp_context=spawn) as worker:
            try:
                for mutant in made[len(judged) :]:
                    judged.append((mutant, worker.submit(judge, mutant.content).result()))
            except BrokenProcessPool:
                judged.append((made[len(judged)], None))
    return judged


def main() -> None:
    """Make the mutants, judge them, print what became of them and the JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=300)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="earwitness-mutations-") as name:
        made = mutants(originals(Path(name)), arguments.seed, arguments.count)
    judged = judge_all(made)
    for code, count in Counter("worker died" if o is None else o.code for _, o in judged).most_common():
        print(f"{count:5}  {code}")
    for mutant, outcome in judged:
        if outcome is None or outcome.code == DEATH or not outcome.in_enum or outcome.seconds >= 5:
            print(f"look at: --seed {arguments.seed} --count {arguments.count}: {mutant.name}: {outcome}")
    known = [outcome for _, outcome in judged if outcome is not None]
    print(f"the slowest took {max((one.cpu_seconds for one in known), default=0.0):.2f} s of CPU time")
    print(
        json.dumps(
            {
                "mutations": len(judged),
                "deaths": len(judged) - len(known) + sum(outcome.code == DEATH for outcome in known),
                "outside_enum": sum(not outcome.in_enum for outcome in known),
                "slowest_s": round(max((outcome.seconds for outcome in known), default=0.0), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
