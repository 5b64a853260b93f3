"""Synthesise single notes of several instruments, as far as a sum of partials can sound like one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis.sounds import SAMPLING_RATE, Wave, coloured

INSTRUMENTS = ("piano", "organ", "flute", "guitar", "brass")
LOWEST_PITCH, HIGHEST_PITCH = 48, 83  # MIDI numbers: three octaves from C3
VELOCITIES = (50, 100)  # soft and dark, hard and bright


@dataclass(frozen=True)
class Note:
    """A note as NSynth describes one; ``qualities`` in the official words."""

    instrument: str
    pitch: int
    velocity: int

    @property
    def qualities(self) -> tuple[str, ...]:
        """Say how it sounds."""
        brightness = "bright" if self.velocity == max(VELOCITIES) else "dark"
        return (brightness, "fast_decay") if self.instrument in ("piano", "guitar") else (brightness,)


def draw_note(chance: np.random.Generator) -> Note:
    """Draw a note."""
    pitch = int(chance.integers(LOWEST_PITCH, HIGHEST_PITCH + 1))
    return Note(str(chance.choice(INSTRUMENTS)), pitch, int(chance.choice(VELOCITIES)))


def play(note: Note, seconds: float, chance: np.random.Generator) -> Wave:
    """Return ``(samples,)`` of a note at 16 kHz, its loudest sample 1."""
    time = np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE
    base = 440.0 * 2 ** ((note.pitch - 69) / 12)
    numbers = np.arange(1, min(20, int(7_500 / base)) + 1)[:, None].astype(float)  # (partials, 1)
    loudness, stretch, envelope = _timbre(note.instrument, numbers, time)
    loudness = loudness * numbers ** (-0.8 if note.velocity < max(VELOCITIES) else 0.0)
    vibrato = np.zeros_like(time)
    if note.instrument == "flute":
        vibrato = 0.02 * np.sin(2 * np.pi * 5 * time + chance.uniform(0, 6))
    phases = chance.uniform(0, 2 * np.pi, numbers.shape)
    angle = 2 * np.pi * base * numbers * stretch * (time + vibrato / 50) + phases
    wave = (loudness * envelope * np.sin(angle)).sum(0)
    if note.instrument == "flute":
        wave += 0.05 * coloured(len(time), chance, 1_000, 5_000)
    release = np.clip((seconds - time) / 0.08, 0, 1)
    wave = wave * release
    return np.asarray(wave / max(np.max(np.abs(wave)), 1e-9))


def _timbre(instrument: str, numbers: Wave, time: Wave) -> tuple[Wave, Wave, Wave]:
    """Return the partials' loudness, their stretch, and how they rise and fall, (partials, 1 or samples)."""
    straight = np.ones_like(numbers, dtype=float)
    if instrument == "piano":
        return (
            1.0 / numbers,
            np.sqrt(1 + 4e-4 * numbers**2),
            np.minimum(1, time * 300) * np.exp(-time * (1 + 0.6 * numbers)),
        )
    if instrument == "guitar":
        plucked = np.abs(np.sin(np.pi * numbers / 5)) / numbers**0.7
        return plucked, straight, np.minimum(1, time * 800) * np.exp(-time * (2.5 + 0.25 * numbers))
    if instrument == "organ":
        drawn = np.where(np.isin(numbers, (1, 2, 3, 4, 6, 8)), 1.0, 0.02) / numbers**0.3
        return drawn, straight, np.minimum(1, time * 60) * straight
    if instrument == "flute":
        return straight / numbers**2.5, straight, np.minimum(1, time * 12) * straight
    opening = np.clip(time * 9 - 0.12 * numbers, 0, 1)  # brass: the high partials come later
    return np.exp(-numbers / 9.0), straight, opening
