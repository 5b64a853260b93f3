"""Make long recordings whose words and times are known exactly: with pauses, without, between music and noise, empty.

Speech is espeak-ng's, of sentences and word strings that training never hears. The same seed and length make the same
recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.tasks.findings import Word
from pipeline.timeline import SAMPLING_RATE, Samples
from training.synthesis import music, sounds, speech
from training.synthesis.sounds import SPEECH_LEVEL, Wave

FLOOR_LEVEL = 1e-4  # of the noise under everything: -80 dB, a quiet room's
LONGEST_GAP_SECONDS = 0.04  # between words where nobody pauses
LINES_OF_A_VOICE = 12
FADE_SAMPLES = 80  # 5 ms, so that joined lines do not click


@dataclass(frozen=True)
class Recording:
    """What is heard, int16 (samples,) at 16 kHz, and every word that is said in it, in timeline samples."""

    name: str
    samples: Samples
    words: tuple[Word, ...]

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / SAMPLING_RATE


@dataclass
class _Tape:
    """Pieces of sound one behind the other, up to a number of samples."""

    capacity: int
    chance: np.random.Generator
    used: int = 0
    pieces: list[Wave] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return self.used >= self.capacity

    def silence(self, seconds: float) -> None:
        self.add(np.zeros(round(seconds * SAMPLING_RATE)))

    def add(self, wave: Wave) -> None:
        self.pieces.append(wave)
        self.used += len(wave)

    def say(self, said: speech.Speech) -> None:
        """Add a line from its first word to its last, without espeak-ng's silence around them."""
        begin = round(said.words[0][1] * SAMPLING_RATE)
        end = round(said.words[-1][2] * SAMPLING_RATE)
        for text, start, stop in said.words:
            places = (round(second * SAMPLING_RATE) - begin + self.used for second in (start, stop))
            self.words.append(Word(text, *places))
        self.add(_faded(said.samples[begin:end].astype(np.float64)))

    def finish(self, name: str) -> Recording:
        """Lay a quiet room under it; the words that do not fit any more are cut off with their sound."""
        words = tuple(word for word in self.words if word.end_sample <= self.capacity)
        end = self.capacity if len(words) == len(self.words) else words[-1].end_sample
        mixed = np.concatenate(self.pieces)[:end]
        mixed = np.pad(mixed, (0, self.capacity - len(mixed)))
        mixed = mixed + self.chance.normal(size=self.capacity) * FLOOR_LEVEL
        samples = np.rint(np.clip(mixed, -1, 1) * 32_767).astype(np.int16)
        return Recording(name, samples, words)


def make_recordings(seconds: float, seed: int = 4) -> dict[str, Recording]:
    """Make the four recordings, each of this length; raises ``EspeakMissing``."""
    makers = (with_pauses, without_pauses, between_sounds, without_speech)
    made = (maker(seconds, np.random.default_rng([seed, k])) for k, maker in enumerate(makers))
    return {recording.name: recording for recording in made}


def with_pauses(seconds: float, chance: np.random.Generator) -> Recording:
    """Make speech as people talk: a line or three, then a pause of a third to one and a half seconds."""
    tape = _tape(seconds, chance)
    tape.silence(0.3)
    while not tape.is_full:
        for line in _lines(chance, int(chance.integers(1, 4))):
            tape.say(line)
            tape.silence(chance.uniform(0, 0.2))
        tape.silence(chance.uniform(0.3, 1.5))
    return tape.finish("pauses")


def without_pauses(seconds: float, chance: np.random.Generator) -> Recording:
    """Make speech without rest: no gap between two words is longer than 40 ms."""
    tape = _tape(seconds, chance)
    tape.silence(0.3)
    while not tape.is_full:
        for line in _lines(chance, LINES_OF_A_VOICE):
            tape.say(line)
            tape.silence(chance.uniform(0, LONGEST_GAP_SECONDS))
    return tape.finish("no pauses")


def between_sounds(seconds: float, chance: np.random.Generator) -> Recording:
    """Make speech of 5 to 20 s, then music, noise or sounds of 3 to 12 s, and so on; noise under some of the speech."""
    tape = _tape(seconds, chance)
    while not tape.is_full:
        spoken = _tape(chance.uniform(5, 20), chance)
        while not spoken.is_full:
            for line in _lines(chance, int(chance.integers(1, 4))):
                spoken.say(line)
                spoken.silence(chance.uniform(0.05, 0.5))
        wave = np.concatenate(spoken.pieces)
        if chance.random() < 0.5:
            wave = wave + sounds.noise(len(wave), SPEECH_LEVEL * 10 ** chance.uniform(-1.5, -0.8), chance)
        tape.words += [
            replace(word, start_sample=word.start_sample + tape.used, end_sample=word.end_sample + tape.used)
            for word in spoken.words
        ]
        tape.add(wave)
        tape.silence(chance.uniform(0.1, 0.6))
        tape.add(_no_speech(chance.uniform(3, 12), chance))
        tape.silence(chance.uniform(0.1, 0.6))
    return tape.finish("sounds between")


def without_speech(seconds: float, chance: np.random.Generator) -> Recording:
    """Make silence, noise, music and sounds in turn, 3 to 25 s each."""
    tape = _tape(seconds, chance)
    while not tape.is_full:
        tape.silence(chance.uniform(3, 15))
        tape.add(_no_speech(chance.uniform(3, 25), chance))
    return tape.finish("no speech")


def repeat(recordings: Mapping[str, Recording], seconds: float) -> Recording:
    """Lay recordings one behind the other, again and again, up to a length."""
    pieces: list[Samples] = []
    words: list[Word] = []
    end, clock = round(seconds * SAMPLING_RATE), 0
    while clock < end:
        for recording in recordings.values():
            moved = (
                replace(one, start_sample=one.start_sample + clock, end_sample=one.end_sample + clock)
                for one in recording.words
            )
            words += [word for word in moved if word.end_sample <= end]
            pieces.append(recording.samples)
            clock += len(recording.samples)
    return Recording("long", np.concatenate(pieces)[:end], tuple(words))


def _tape(seconds: float, chance: np.random.Generator) -> _Tape:
    return _Tape(round(seconds * SAMPLING_RATE), chance)


def _lines(chance: np.random.Generator, count: int) -> list[speech.Speech]:
    """Let one voice say so many lines that training never hears."""
    voice = speech.draw_line(chance, "sentence", held_out=True)
    lines: list[speech.Speech] = []
    while len(lines) < count:
        kind = ("sentence", "words")[int(chance.integers(2))]
        line = replace(voice, text=speech.draw_line(chance, kind, held_out=True).text, kind=kind)
        said = speech.speak(line)
        if said is not None:
            lines.append(said)
    return lines


def _no_speech(seconds: float, chance: np.random.Generator) -> Wave:
    """Make a while of noise, of music, of surroundings, or of single sounds."""
    count = round(seconds * SAMPLING_RATE)
    kind = str(chance.choice(["noise", "music", "ground", "events"]))
    if kind == "noise":
        return sounds.noise(count, 10 ** chance.uniform(-3.0, -1.2), chance)
    if kind == "ground":
        label = str(chance.choice(list(sounds.GROUNDS)))
        return sounds.at_level(
            sounds.make_sound(label, seconds, chance), SPEECH_LEVEL * 10 ** chance.uniform(-0.5, 0)
        )
    pieces: list[Wave] = []
    while sum(map(len, pieces)) < count:
        pieces += [np.zeros(round(chance.uniform(0.05, 0.4) * SAMPLING_RATE)), _single(kind, chance)]
    return np.concatenate(pieces)[:count]


def _single(kind: str, chance: np.random.Generator) -> Wave:
    """Make a note, or a sound such as a bell's."""
    if kind == "music":
        return sounds.at_level(
            music.play(music.draw_note(chance), chance.uniform(0.3, 1.6), chance), SPEECH_LEVEL
        )
    label = str(chance.choice(list(sounds.EVENTS)))
    return sounds.at_level(sounds.make_sound(label, sounds.EVENT_SECONDS[label], chance), SPEECH_LEVEL)


def _faded(wave: Wave) -> Wave:
    ramp = np.minimum(1.0, np.arange(len(wave)) / FADE_SAMPLES)
    return np.asarray(wave * ramp * ramp[::-1])
