"""Make a tiny world without a speech synthesiser: every word is a chord of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.mixing import Pool
from training.network import Sizes
from training.settings import RunConfig, Schedule
from training.takes import Take, TimedWord, mel_energies
from training.world import words

WORDS = ("hello", "anna", "yes", "no", "seven", "light")
SECONDS = 0.24


def chord(word: str) -> np.ndarray:
    time = np.arange(round(SECONDS * 16_000)) / 16_000
    number = words().index(word)
    tones = (250 + 90 * (number % 9), 1_200 + 260 * (number // 9))
    return sum(np.sin(2 * np.pi * tone * time) for tone in tones) * np.hanning(len(time)) * 0.2


def line(text: str) -> Take:
    said = text.split()
    mel = mel_energies(np.concatenate([chord(word) for word in said]).astype(np.float32))
    step = round(SECONDS * 100)
    timed = tuple(TimedWord(word, k * step, (k + 1) * step) for k, word in enumerate(said))
    phonemes = np.repeat([WORDS.index(word) + 1 for word in said], step).astype(np.uint8)
    traits = {"language": "en", "speaker": "woman", "emotion": "neutral", "voice": "chord"}
    return Take("words", mel, "", text, timed, phonemes[: len(mel)], traits)


@pytest.fixture
def pool() -> Pool:
    chance = np.random.default_rng(0)
    pool = Pool()
    for kind in ("words", "sentence"):
        pool.kinds[kind] = [line(" ".join(chance.choice(WORDS, 1 + k % 3))) for k in range(12)]
    noise = mel_energies((chance.normal(size=32_000) * 0.05).astype(np.float32))
    pool.kinds["ground"] = [Take("ground", noise, "rain")]
    pool.kinds["event"] = [Take("event", noise[:40], "bell")]
    pool.kinds["vocal"] = [Take("vocal", noise[:60], "cough")]
    pool.kinds["note"] = [
        Take("note", noise[:50], "piano", traits={"pitch": 60, "velocity": 50, "qualities": ["dark"]})
    ]
    foreign = line("hello anna")
    foreign.traits["language"] = "de"
    pool.kinds["foreign"] = [
        Take("foreign", foreign.mel, "", "hallo", (), foreign.phonemes[:0], foreign.traits)
    ]
    return pool


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    return RunConfig(
        out=tmp_path / "run",
        takes=tmp_path,
        precision="float32",
        sizes=Sizes(hidden=32, encoder_layers=1, decoder_layers=1, heads=2, feed_forward=32),
        schedule=Schedule(steps=30, rate=4e-3, batch_seconds=6),
    )
