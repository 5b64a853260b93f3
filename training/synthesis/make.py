"""Fill a folder with shards of takes, in as many processes as wanted; the same seed makes the same takes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from training.synthesis import music, sounds, speech
from training.takes import Take, mel_energies, write_shard

TAKES_IN_SHARD = 400
GROUND_SECONDS = 10.0
NOISE_SECONDS = 6.0
NOISES_IN_SHARD = 150


@dataclass(frozen=True)
class Plan:
    """How many shards of takes to make: of ``words`` (random strings), sentences, foreign sentences and sounds.

    ``noise`` shards hold steady noise of many colours, ``flite`` shards words and sentences in flite's voices; the
    bundled checkpoint has heard none of the latter.
    """

    words: int = 48
    sentence: int = 48
    foreign: int = 12
    sounds: int = 40
    noise: int = 6
    flite: int = 0
    seed: int = 0


def make(folder: Path, plan: Plan, processes: int = 1) -> int:
    """Write the shards that are not there yet and return how many takes these hold; a second call goes on."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {name: count for name, count in asdict(plan).items() if name != "seed"}
    # Kinds take turns, so that training can begin on the first shards.
    jobs = [(number / count, kind, number) for kind, count in counts.items() for number in range(count)]
    wanted = [(folder, kind, number, plan.seed) for _, kind, number in sorted(jobs)]
    todo = [job for job in wanted if not _path(*job[:3]).exists()]
    if processes == 1:
        return sum(map(_make_shard, todo))
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        return sum(pool.map(_make_shard, todo))


def _path(folder: Path, kind: str, number: int) -> Path:
    return folder / f"{kind}-{number:03d}.npz"


def _make_shard(job: tuple[Path, str, int, int]) -> int:
    folder, kind, number, seed = job
    chance = np.random.default_rng([seed, number, *kind.encode()])
    if kind in ("sounds", "noise"):
        takes = list(_sounds(chance) if kind == "sounds" else _noises(chance))
    else:
        takes = list(_spoken(kind, chance))
    write_shard(_path(folder, kind, number), takes)
    return len(takes)


def _spoken(kind: str, chance: np.random.Generator) -> Iterator[Take]:
    made = 0
    while made < TAKES_IN_SHARD:
        if kind == "flite":
            line = speech.draw_flite_line(chance, "words" if chance.random() < 0.6 else "sentence")
        else:
            line = speech.draw_line(chance, kind)
        said = speech.speak(line)
        if said is not None:
            made += 1
            yield speech.speech_take(said, chance)


def _sounds(chance: np.random.Generator) -> Iterator[Take]:
    """Yield surroundings, single sounds, voice noises and notes, each kind of sound equally often."""
    for _ in range(6):
        for label in sounds.GROUNDS:
            yield _take("ground", label, sounds.make_sound(label, GROUND_SECONDS, chance))
    for _ in range(18):
        for label in sounds.EVENTS:
            seconds = sounds.EVENT_SECONDS[label] * chance.uniform(0.7, 1.2)
            yield _take("event", label, sounds.make_sound(label, seconds, chance))
        for label in sounds.VOCALS:
            yield _take("vocal", label, sounds.make_sound(label, chance.uniform(1.0, 1.8), chance))
    for _ in range(240):
        note = music.draw_note(chance)
        take = _take("note", note.instrument, music.play(note, chance.uniform(0.8, 1.6), chance))
        take.traits.update(pitch=note.pitch, velocity=note.velocity, qualities=list(note.qualities))
        yield take


def _noises(chance: np.random.Generator) -> Iterator[Take]:
    """Yield steady noise of many colours: what is no surroundings, though it sounds like wind or waves."""
    count = round(NOISE_SECONDS * sounds.SAMPLING_RATE)
    for _ in range(NOISES_IN_SHARD):
        high = chance.uniform(2_000, 7_500)
        yield _take("noise", "", sounds.coloured(count, chance, 60, high, chance.uniform(0, 0.6)))


def _take(kind: str, label: str, wave: sounds.Wave) -> Take:
    loudness = 0.1 / max(float(np.sqrt(np.mean(wave**2))), 1e-6)
    return Take(
        kind, mel_energies(np.clip(wave * min(loudness, 1.0), -1, 1).astype(np.float32)), label, traits={}
    )
