"""Synthesise surroundings, single sounds and voice noises from numbers, a little different every time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SAMPLING_RATE = 16_000
SPEECH_LEVEL = 0.1  # the loudness of speech, as the root of its mean square

Wave = NDArray[np.float64]  # (samples,), at most 1 in size
Maker = Callable[[Wave, np.random.Generator], Wave]


def make_sound(kind: str, seconds: float, chance: np.random.Generator) -> Wave:
    """Return ``(samples,)`` of a kind of sound at 16 kHz, its loudest sample 1."""
    wave = SOUNDS[kind](np.arange(round(seconds * SAMPLING_RATE)) / SAMPLING_RATE, chance)
    fade = np.minimum(1.0, np.arange(len(wave)) / (0.02 * SAMPLING_RATE))
    wave = wave * fade[::-1]
    return np.asarray(wave / max(float(np.max(np.abs(wave))), 1e-9))


def coloured(count: int, chance: np.random.Generator, low: float, high: float, slope: float = 0.0) -> Wave:
    """Return noise between two frequencies in Hz, falling with frequency to the power of ``slope``."""
    spectrum = np.fft.rfft(chance.normal(size=count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLING_RATE), 20.0)
    inside = 1 / (1 + (low / frequency) ** 4) / (1 + (frequency / high) ** 4)
    wave = np.fft.irfft(spectrum * inside * frequency**-slope, count)
    return np.asarray(wave / max(float(np.std(wave)), 1e-12) / 3)


def noise(count: int, level: float, chance: np.random.Generator) -> Wave:
    """Return noise of some colour at a loudness."""
    high = chance.uniform(2_000, 7_500)
    return at_level(coloured(count, chance, 60, high, chance.uniform(0, 0.6)), level)


def at_level(wave: Wave, level: float) -> Wave:
    """Bring a wave to a loudness, the root of its mean square."""
    return np.asarray(wave * (level / max(float(np.sqrt(np.mean(np.square(wave)))), 1e-9)))


def _rain(time: Wave, chance: np.random.Generator) -> Wave:
    hiss = coloured(len(time), chance, 1_000, chance.uniform(5_000, 9_000))
    drops = (chance.random(len(time)) < chance.uniform(20, 80) / SAMPLING_RATE) * chance.uniform(
        1, 4, len(time)
    )
    ring = np.exp(-time[:300] * 900) * np.sin(2 * np.pi * chance.uniform(2_000, 3_500) * time[:300])
    return np.asarray(hiss + np.convolve(drops, ring)[: len(time)])


def _wind(time: Wave, chance: np.random.Generator) -> Wave:
    gusts = 0.6 + 0.4 * np.sin(2 * np.pi * chance.uniform(0.15, 0.5) * time + chance.uniform(0, 6))
    return coloured(len(time), chance, 80, chance.uniform(350, 700), 0.5) * gusts


def _birds(time: Wave, chance: np.random.Generator) -> Wave:
    wave = 0.02 * coloured(len(time), chance, 200, 4_000, 0.5)
    start = chance.uniform(0, 0.3)
    while start < time[-1]:
        since = time - start
        length, pitch, sweep = (
            chance.uniform(0.06, 0.2),
            chance.uniform(2_800, 5_000),
            chance.uniform(-6_000, 6_000),
        )
        inside = (since >= 0) & (since < length)
        chirp = np.sin(2 * np.pi * (pitch * since + sweep * since**2 / 2)) * np.sin(np.pi * since / length)
        wave += inside * chirp
        start += length + chance.choice([0.04, 0.08, 0.3, 0.6])
    return wave


def _traffic(time: Wave, chance: np.random.Generator) -> Wave:
    rumble = coloured(len(time), chance, 30, 250, 0.5)
    engine = np.zeros_like(time)
    pitch = chance.uniform(40, 75)
    drift = pitch * (time + 0.1 * np.sin(2 * np.pi * 0.2 * time + chance.uniform(0, 6)))
    for harmonic in range(1, 12):
        engine += np.sin(2 * np.pi * harmonic * drift + chance.uniform(0, 6)) / harmonic
    passing = 0.5 + 0.5 * np.sin(2 * np.pi * chance.uniform(0.1, 0.3) * time + chance.uniform(0, 6))
    return np.asarray(rumble + 0.5 * engine + 0.5 * passing * coloured(len(time), chance, 300, 1_500, 0.5))


def _keyboard(time: Wave, chance: np.random.Generator) -> Wave:
    wave = 0.01 * coloured(len(time), chance, 50, 1_000, 0.5)
    start = chance.uniform(0, 0.2)
    while start < time[-1]:
        for delay, strength in ((0.0, 1.0), (chance.uniform(0.05, 0.09), 0.5)):
            first = int((start + delay) * SAMPLING_RATE)
            count = min(400, len(time) - first)
            if count > 0:
                click = chance.normal(size=count) * np.exp(-time[:count] * chance.uniform(250, 500))
                wave[first : first + count] += strength * chance.uniform(0.5, 1) * click
        start += chance.uniform(0.1, 0.35)
    return wave


def _waves(time: Wave, chance: np.random.Generator) -> Wave:
    swell = np.sin(np.pi * (time * chance.uniform(0.2, 0.35) + chance.uniform(0, 1))) ** 4
    return coloured(len(time), chance, 150, 3_000, 0.6) * (0.08 + swell)


def _bell(time: Wave, chance: np.random.Generator) -> Wave:
    partials = np.array([0.5, 1.0, 1.2, 1.5, 2.0, 2.67, 4.0])[:, None]
    waves = np.sin(
        2 * np.pi * chance.uniform(380, 800) * partials * time + chance.uniform(0, 6, partials.shape)
    )
    return np.asarray(
        (waves * np.exp(-time * (chance.uniform(0.7, 1.6) + 0.9 * partials)) / (1 + partials)).sum(0)
    )


def _alarm(time: Wave, chance: np.random.Generator) -> Wave:
    rate, pitch = chance.uniform(5, 9), chance.uniform(1_700, 2_500)
    rest = time % 1.0 < 0.5 if chance.random() < 0.6 else time >= 0
    tone = np.sin(2 * np.pi * pitch * time) + 0.3 * np.sin(6 * np.pi * pitch * time)
    return np.asarray(((time * rate) % 1.0 < 0.5) * rest * tone)


def _glass(time: Wave, chance: np.random.Generator) -> Wave:
    wave = chance.normal(size=len(time)) * np.exp(-time * chance.uniform(40, 80)) * 2
    for landing in np.sort(chance.exponential(chance.uniform(0.1, 0.25), 40)):
        since = np.maximum(time - landing, 0)
        ring = np.sin(2 * np.pi * chance.uniform(2_500, 7_500) * since)
        wave += (time >= landing) * np.exp(-since * chance.uniform(25, 70)) * ring * chance.uniform(0.1, 0.7)
    return np.asarray(wave)


def _door(time: Wave, chance: np.random.Generator) -> Wave:
    thud = np.sin(2 * np.pi * chance.uniform(60, 110) * time) * np.exp(-time * chance.uniform(10, 18))
    return np.asarray(
        thud + coloured(len(time), chance, 60, 1_200, 0.7) * np.exp(-time * chance.uniform(25, 50)) * 2
    )


def _applause(time: Wave, chance: np.random.Generator) -> Wave:
    claps = (chance.random(len(time)) < chance.uniform(60, 150) / SAMPLING_RATE) * chance.uniform(
        0.3, 1, len(time)
    )
    clap = coloured(400, chance, 700, 2_500) * np.exp(-time[:400] * 250)
    return np.convolve(claps, clap)[: len(time)]


def _telephone(time: Wave, chance: np.random.Generator) -> Wave:
    low, beat = chance.uniform(400, 460), chance.uniform(18, 25)
    tone = np.sin(2 * np.pi * low * time) + np.sin(2 * np.pi * (low + 45) * time)
    ringing = (time % 1.5) < 1.0
    return np.asarray(tone * ringing * (0.6 + 0.4 * np.sign(np.sin(2 * np.pi * beat * time))))


def _cough(time: Wave, chance: np.random.Generator) -> Wave:
    wave = np.zeros_like(time)
    for start in np.cumsum(chance.uniform(0.3, 0.45, 3)) - 0.3:
        since = np.maximum(time - start, 0)
        burst = np.exp(-since * chance.uniform(12, 20)) * np.minimum(1, since * 100)
        wave += (time >= start) * burst * coloured(len(time), chance, 300, 3_000, 0.4)
    return wave


def _sniff(time: Wave, chance: np.random.Generator) -> Wave:
    wave = np.zeros_like(time)
    for start in (0.05, chance.uniform(0.5, 0.7)):
        since = (time - start) / chance.uniform(0.2, 0.35)
        inside = (since > 0) & (since < 1)
        wave += inside * np.clip(since, 0, 1) ** 1.5 * coloured(len(time), chance, 2_000, 7_000)
    return wave


def _sigh(time: Wave, chance: np.random.Generator) -> Wave:
    since = time / chance.uniform(0.8, 1.2)
    breath = coloured(len(time), chance, 400, chance.uniform(1_200, 2_200), 0.5)
    return np.asarray(breath * np.clip(since * 6, 0, 1) * np.exp(-since * 2.5))


def _laughter(time: Wave, chance: np.random.Generator) -> Wave:
    pitch, rate = chance.uniform(140, 330), chance.uniform(4, 6)
    phase = (time * rate) % 1.0
    gate = np.exp(-phase * 4) * (phase < 0.7)
    height = pitch * (1 - 0.15 * time)
    voice = np.zeros_like(time)
    for harmonic in range(1, 16):
        formant = np.exp(-(((harmonic * pitch - 800) / 500) ** 2)) + 0.4 * np.exp(
            -(((harmonic * pitch - 1_300) / 500) ** 2)
        )
        voice += formant * np.sin(2 * np.pi * harmonic * np.cumsum(height) / SAMPLING_RATE)
    return np.asarray(gate * (voice + 0.3 * coloured(len(time), chance, 600, 4_000)) * np.exp(-time * 0.6))


GROUNDS: dict[str, tuple[str, str]] = {
    "rain": ("rain falls", "garden"),
    "wind": ("wind blows", "field"),
    "birds": ("birds sing", "park"),
    "traffic": ("cars pass", "street"),
    "keyboard": ("keys click", "office"),
    "waves": ("waves break", "beach"),
}
"""Surroundings: what a caption says of them, and the scene that they mean."""

NO_SCENE = "quiet room"

EVENTS: dict[str, str] = {
    "bell": "a bell rings",
    "alarm": "an alarm beeps",
    "glass": "glass breaks",
    "door": "a door slams",
    "applause": "people clap",
    "telephone": "a telephone rings",
}
"""Single sounds, and what a caption says of them."""

EVENT_SECONDS = {"bell": 2.0, "alarm": 2.0, "glass": 1.2, "door": 0.6, "applause": 2.0, "telephone": 2.0}

VOCALS: dict[str, str] = {
    "laughter": "somebody laughs",
    "cough": "somebody coughs",
    "sniff": "somebody sniffs",
    "sigh": "somebody sighs",
}
"""Voice noises, and what a caption says of them."""

AUDIOSET: dict[str, str] = {
    "rain": "Rain",
    "wind": "Wind",
    "birds": "Bird",
    "traffic": "Vehicle",
    "keyboard": "Typing",
    "waves": "Ocean",
    "bell": "Bell",
    "alarm": "Alarm",
    "glass": "Glass",
    "door": "Door",
    "applause": "Applause",
    "telephone": "Telephone",
    "laughter": "Laughter",
    "cough": "Cough",
    "sniff": "Sniff",
    "sigh": "Sigh",
}
"""What AudioSet's ontology (Gemmeke et al., 2017) calls these sounds."""

SOUNDS: dict[str, Maker] = {
    "rain": _rain,
    "wind": _wind,
    "birds": _birds,
    "traffic": _traffic,
    "keyboard": _keyboard,
    "waves": _waves,
    "bell": _bell,
    "alarm": _alarm,
    "glass": _glass,
    "door": _door,
    "applause": _applause,
    "telephone": _telephone,
    "laughter": _laughter,
    "cough": _cough,
    "sniff": _sniff,
    "sigh": _sigh,
}
