"""Make the clips that evaluation asks about: sentences, fillings and voices that training never hears.

These are mixed as real samples and go through the model's own features, not through the loader's shortcuts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.clips import Clip
from training.synthesis import music, sounds, speech
from training.synthesis.sounds import SPEECH_LEVEL
from training.takes import TimedWord

Sets = dict[str, list[Clip]]


def make_sets(seed: int = 12_345, size: int = 120) -> Sets:
    """Make every set, about ``size`` clips each; the same seed makes the same clips."""
    makers: dict[str, Callable[[np.random.Generator, int], Clip]] = {
        "sentences": lambda chance, _: _speech(chance, "sentence"),
        "random": lambda chance, _: _speech(chance, "words"),
        "new_voice": lambda chance, k: _speech(chance, ("sentence", "words")[k % 2], new_voice=True),
        "several": lambda chance, _: _several(chance),
        "nothing": _nothing,
        "foreign": lambda chance, _: _speech(chance, "foreign"),
        "sounds": _sounds,
        "notes": lambda chance, _: _note(chance),
        "vocals": lambda chance, _: _vocal(chance),
    }
    sets: Sets = {}
    for number, (name, maker) in enumerate(makers.items()):
        chance = np.random.default_rng([seed, number])
        count = size // 4 if name in ("several", "vocals") else size
        sets[name] = [maker(chance, place) for place in range(count)]
    return sets


def _say(chance: np.random.Generator, kind: str, *, new_voice: bool = False) -> speech.Speech:
    while True:
        said = speech.speak(speech.draw_line(chance, kind, held_out=True, new_voice=new_voice))
        if said is not None:
            return said


def _speech(chance: np.random.Generator, kind: str, *, new_voice: bool = False) -> Clip:
    said = _say(chance, kind, new_voice=new_voice)
    samples = speech.add_room(said.samples, chance) if chance.random() < 0.25 else said.samples
    return _finish([(samples, said)], chance)


def _several(chance: np.random.Generator) -> Clip:
    """Make a longer clip of two to six utterances."""
    lines = [
        _say(chance, ("sentence", "words")[int(chance.integers(2))])
        for _ in range(int(chance.integers(2, 7)))
    ]
    return _finish([(said.samples, said) for said in lines], chance)


def _finish(lines: list[tuple[NDArray[np.float32], speech.Speech]], chance: np.random.Generator) -> Clip:
    """Lay lines one after another with pauses, and noise behind half of the clips."""
    pieces: list[NDArray[np.float32]] = []
    words: list[TimedWord] = []
    clock = 0.0
    for samples, said in lines:
        pause = chance.uniform(0.05, 0.35) if not pieces else chance.uniform(0.2, 1.2)
        pieces += [np.zeros(round(pause * sounds.SAMPLING_RATE), np.float32), samples]
        clock += pause
        if said.line.language == "en":
            words += [
                TimedWord(text, round(100 * (start + clock)), round(100 * (end + clock)))
                for text, start, end in said.words
            ]
        clock += len(samples) / sounds.SAMPLING_RATE
    pieces.append(np.zeros(round(chance.uniform(0.05, 0.35) * sounds.SAMPLING_RATE), np.float32))
    clip = Clip(
        words=tuple(words),
        language=lines[0][1].line.language,
        speakers=tuple(said.line.speaker for _, said in lines),
        emotion=lines[0][1].line.emotion if len(lines) == 1 else None,
    )
    mixed: sounds.Wave = np.concatenate(pieces).astype(np.float64)
    if chance.random() < 0.3:
        clip.ground = str(chance.choice(list(sounds.GROUNDS)))
        mixed = mixed + sounds.at_level(
            _sound(clip.ground, len(mixed), chance), SPEECH_LEVEL * 10 ** chance.uniform(-0.8, -0.4)
        )
    if chance.random() < 0.5:
        clip.is_noisy = True
        mixed = mixed + sounds.noise(len(mixed), SPEECH_LEVEL * 10 ** chance.uniform(-2.0, -0.8), chance)
    return _with_samples(clip, mixed)


def _nothing(chance: np.random.Generator, place: int) -> Clip:
    """Make silence, noise, music and sounds in turn."""
    kind = place % 4
    if kind == 2:
        return _note(chance)
    if kind == 3:
        return _sounds(chance, place)
    count = round(chance.uniform(1.0, 8.0) * sounds.SAMPLING_RATE)
    if kind == 0:
        return _with_samples(Clip(), sounds.noise(count, 10 ** chance.uniform(-5.5, -4.5), chance))
    return _with_samples(Clip(is_noisy=True), sounds.noise(count, 10 ** chance.uniform(-3.0, -1.2), chance))


def _sounds(chance: np.random.Generator, _: int) -> Clip:
    """Make a scene of surroundings and up to two single sounds."""
    events = [
        str(label) for label in chance.choice(list(sounds.EVENTS), int(chance.integers(0, 3)), replace=False)
    ]
    waves = [sounds.make_sound(label, sounds.EVENT_SECONDS[label], chance) for label in events]
    gaps = [np.zeros(round(chance.uniform(0.1, 0.4) * sounds.SAMPLING_RATE)) for _ in range(len(events) + 1)]
    joined = [
        gaps[0],
        *(
            piece
            for k, wave in enumerate(waves)
            for piece in (sounds.at_level(wave, SPEECH_LEVEL), gaps[k + 1])
        ),
    ]
    mixed = np.concatenate(joined)
    mixed = np.pad(mixed, (0, max(0, round(chance.uniform(2, 5) * sounds.SAMPLING_RATE) - len(mixed))))
    clip = Clip(events=tuple(events))
    if not events or chance.random() < 0.6:
        clip.ground = str(chance.choice(list(sounds.GROUNDS)))
        level = SPEECH_LEVEL * 10 ** chance.uniform(-0.5, -0.1)
        mixed = mixed + sounds.at_level(_sound(clip.ground, len(mixed), chance), level)
    return _with_samples(clip, mixed)


def _note(chance: np.random.Generator) -> Clip:
    note = music.draw_note(chance)
    wave = sounds.at_level(music.play(note, chance.uniform(0.8, 1.6), chance), SPEECH_LEVEL)
    edges = [np.zeros(round(chance.uniform(0.05, 0.3) * sounds.SAMPLING_RATE)) for _ in range(2)]
    mixed = np.concatenate([edges[0], wave, edges[1]])
    truth = {"instrument": note.instrument, "pitch": note.pitch, "velocity": note.velocity}
    clip = Clip(note={**truth, "qualities": list(note.qualities)})
    return _with_samples(clip, mixed + sounds.noise(len(mixed), 10 ** chance.uniform(-4, -3), chance))


def _vocal(chance: np.random.Generator) -> Clip:
    label = str(chance.choice(list(sounds.VOCALS)))
    wave = sounds.at_level(sounds.make_sound(label, chance.uniform(1.0, 1.8), chance), SPEECH_LEVEL)
    mixed = np.pad(wave, round(chance.uniform(0.05, 0.3) * sounds.SAMPLING_RATE))
    return _with_samples(
        Clip(vocal=label), mixed + sounds.noise(len(mixed), 10 ** chance.uniform(-4, -3), chance)
    )


def _sound(label: str, count: int, chance: np.random.Generator) -> sounds.Wave:
    return sounds.make_sound(label, count / sounds.SAMPLING_RATE + 0.01, chance)[:count]


def _with_samples(clip: Clip, mixed: sounds.Wave) -> Clip:
    whole = len(mixed) // 640 * 640  # audio tokens
    clip.samples = np.clip(mixed[:whole], -1, 1).astype(np.float32)
    clip.frames = whole // 160
    return clip
