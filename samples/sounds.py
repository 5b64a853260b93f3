"""Synthesise the sounds of the sample recordings from numbers, the same ones every time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from samples.scenes import SoundKind

Wave = NDArray[np.float64]  # (samples,), at most 1 in size

FADE_SECONDS = 0.02


def synthesise(kind: SoundKind, seconds: float, sampling_rate: int) -> Wave:
    """Return ``(samples,)`` of a sound whose loudest sample is 1; the same call gives the same samples."""
    wave = _SOUNDS[kind](np.arange(round(seconds * sampling_rate)) / sampling_rate, np.random.default_rng(7))
    fade = np.minimum(1.0, np.arange(len(wave)) / (FADE_SECONDS * sampling_rate))
    wave *= fade[::-1]
    return np.asarray(wave / np.max(np.abs(wave)))


def _rain(time: Wave, chance: np.random.Generator) -> Wave:
    """Hiss without its low end, and single drops that click."""
    hiss = np.diff(chance.normal(size=len(time)), prepend=0.0)
    drops = (chance.random(len(time)) < 40.0 * time[1]) * chance.uniform(2.0, 6.0, len(time))
    ring = np.exp(-time[:400] * 900.0) * np.sin(2 * np.pi * 2_800.0 * time[:400])
    return hiss + np.convolve(drops, ring)[: len(time)]


def _bell(time: Wave, chance: np.random.Generator) -> Wave:
    """Partials of a church bell (hum, prime, tierce, quint, nominal and two above), the high ones fading first."""
    partials = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.67, 4.0])
    phases = chance.uniform(0, 2 * np.pi, len(partials))
    waves = np.sin(2 * np.pi * 520.0 * partials[:, None] * time + phases[:, None])  # (partials, samples)
    fading = np.exp(-time * (0.8 + 0.9 * partials[:, None]))
    return np.asarray((waves * fading / (1 + partials[:, None])).sum(axis=0))


def _alarm(time: Wave, chance: np.random.Generator) -> Wave:
    """Four beeps and a rest, twice a second, of a cheap clock's buzzer."""
    beeping = ((time * 8.0) % 1.0 < 0.5) & (time % 1.0 < 0.5)
    tone = np.sin(2 * np.pi * 2_050.0 * time) + 0.3 * np.sin(2 * np.pi * 6_150.0 * time)
    return np.asarray(beeping * tone)


def _glass(time: Wave, chance: np.random.Generator) -> Wave:
    """A crack of noise, then shards that ring high and briefly as they land."""
    wave = chance.normal(size=len(time)) * np.exp(-time * 60.0) * 2.0
    for landing in np.sort(chance.exponential(0.18, 60)):
        since = np.maximum(time - landing, 0.0)
        pitch, strength = chance.uniform(2_500.0, 9_000.0), chance.uniform(0.1, 0.7)
        ringing = np.exp(-since * chance.uniform(25.0, 70.0)) * np.sin(2 * np.pi * pitch * since)
        wave += (time >= landing) * ringing * strength
    return np.asarray(wave)


_SOUNDS: dict[SoundKind, Callable[[Wave, np.random.Generator], Wave]] = {
    "rain": _rain,
    "bell": _bell,
    "alarm": _alarm,
    "glass": _glass,
}
