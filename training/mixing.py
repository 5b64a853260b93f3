"""Mix takes into clips: lines and sounds on a time line, noise, another microphone, another throat.

Everything happens on log-mel energies: overlapping sounds add, a gain is a shift, a microphone is a curve over the
mel bins, a throat a warp along them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qwen_audio.features import DYNAMIC_RANGE, MEL_BINS
from training.clips import FRAMES_PER_TOKEN, Clip, Spoken
from training.takes import Take, TimedWord

FLOOR = -10.0  # log10 of the least mel energy, as the features clamp it
MAX_FRAMES = 3_000


@dataclass(frozen=True)
class Stage:
    """How hard the clips are: the longest in seconds, the share of those with several utterances."""

    most_words: int
    most_seconds: float
    several: float
    disturbed: float  # the share of clips with noise, and half of it with surroundings


@dataclass
class Pool:
    """The takes by kind, and the lines by voice and emotion, which are sorted when first asked for."""

    kinds: dict[str, list[Take]] = field(default_factory=lambda: defaultdict(list))
    likes: dict[tuple[str, str], list[Take]] = field(default_factory=lambda: defaultdict(list))

    def add(self, takes: Iterable[Take]) -> None:
        """Put more takes in."""
        for take in takes:
            self.kinds[take.kind].append(take)

    def draw_like(self, take: Take, chance: np.random.Generator) -> Take:
        """Draw another line of the same voice in the same emotion."""
        if not self.likes:
            for one in (*self.kinds["words"], *self.kinds["sentence"]):
                self.likes[one.traits["voice"], one.traits["emotion"]].append(one)
        alike = self.likes[take.traits["voice"], take.traits["emotion"]]
        return alike[int(chance.integers(len(alike)))]

    def draw(self, kind: str, chance: np.random.Generator) -> Take:
        """Draw a take of a kind."""
        takes = self.kinds[kind]
        return takes[int(chance.integers(len(takes)))]


@dataclass
class _Canvas:
    """Mel energies that pieces are added to, (frames, 80)."""

    energies: NDArray[np.float32]

    def add(self, mel: NDArray[np.float16], start: int, gain: float) -> None:
        """Add a piece from a frame on, ``gain`` in log10 of energy; what reaches over the end is cut."""
        kept = mel[: max(0, len(self.energies) - start)].astype(np.float32)
        self.energies[start : start + len(kept)] += 10.0 ** (kept + gain)


SAMPLED_NOISE = 0.6  # how much of the noise is of samples; the rest is drawn on the mel energies

SHARES = {"speech": 0.43, "foreign": 0.13, "sound": 0.26, "nothing": 0.04, "vocal": 0.05, "note": 0.09}
"""How often each kind of clip comes."""


def mix(pool: Pool, stage: Stage, chance: np.random.Generator) -> Clip:
    """Draw a clip."""
    kind = str(chance.choice(list(SHARES), p=list(SHARES.values())))
    if kind == "speech":
        return _speech(pool, stage, chance)
    if kind == "foreign":
        return _foreign(pool, stage, chance)
    if kind in ("vocal", "note"):
        return _single(kind, pool, stage, chance)
    return _sounds(pool, stage, chance, is_silent=kind == "nothing")


def _speech(pool: Pool, stage: Stage, chance: np.random.Generator) -> Clip:
    takes = _draw_utterances(pool, stage, chance)
    starts, clock = [], _long_pause(chance) if len(takes) > 1 else _pause(chance)
    for take in takes:
        starts.append(clock)
        clock += len(take.mel) + (_long_pause(chance) if len(takes) > 1 else 0)
    last = starts[-1] + len(takes[-1].mel)
    event = pool.draw("event", chance) if chance.random() < 0.2 * stage.disturbed else None
    frames = last + _pause(chance) + (len(event.mel) // 2 if event else 0)
    canvas = _blank(min(frames, MAX_FRAMES))
    size = len(canvas.energies)
    phonemes = np.zeros(size, np.uint8)
    words: list[TimedWord] = []
    spoken: list[Spoken] = []
    for take, start in zip(takes, starts, strict=True):
        canvas.add(take.mel, start, chance.uniform(-0.3, 0.3))
        said = take.phonemes[: max(0, size - start)]
        phonemes[start : start + len(said)] = said
        words += [TimedWord(word.text, word.start + start, word.end + start) for word in take.words]
        spoken.append(_spoken(take, start, min(start + len(take.mel), size)))
    emotions = {take.traits["emotion"] for take in takes}
    clip = Clip(
        frames=size,
        words=tuple(word for word in words if word.end <= size),
        phonemes=phonemes,
        language="en",
        speakers=tuple(take.traits["speaker"] for take in takes),
        spoken=tuple(spoken),
        emotion=emotions.pop() if len(emotions) == 1 else None,
    )
    if event:
        begin = max(0, size - len(event.mel))
        canvas.add(event.mel, begin, chance.uniform(-0.8, 0.2))
        clip.events = (event.label,)
        clip.sounds = (TimedWord(event.label, begin, size),)
    return _finish(canvas, clip, pool, stage, chance)


def _spoken(take: Take, start: int, end: int) -> Spoken:
    traits = take.traits
    return Spoken(start, end, traits["language"], traits["speaker"], traits["emotion"])


def _draw_utterances(pool: Pool, stage: Stage, chance: np.random.Generator) -> list[Take]:
    several = chance.random() < stage.several
    budget = 100 * chance.uniform(min(3.0, stage.most_seconds), stage.most_seconds) if several else 0.0
    takes = [_draw_line(pool, stage, chance)]
    same = chance.random() < 0.6  # most of the longer clips keep the speaker and the mood
    while (spent := sum(len(take.mel) + 60 for take in takes)) < budget:
        take = pool.draw_like(takes[0], chance) if same else _draw_line(pool, stage, chance)
        if spent + len(take.mel) > MAX_FRAMES - 100:
            break
        takes.append(take)
    return takes


def _draw_line(pool: Pool, stage: Stage, chance: np.random.Generator) -> Take:
    for _ in range(30):
        take = pool.draw("words" if chance.random() < 0.5 else "sentence", chance)
        if len(take.words) <= stage.most_words:
            break
    return take


def _foreign(pool: Pool, stage: Stage, chance: np.random.Generator) -> Clip:
    take = pool.draw("foreign", chance)
    mel = take.mel[: round(100 * max(2.0, min(stage.most_seconds, 5.0)))]
    start = _pause(chance)
    canvas = _blank(start + len(mel) + _pause(chance))
    canvas.add(mel, start, chance.uniform(-0.3, 0.3))
    traits = take.traits
    clip = Clip(
        frames=len(canvas.energies),
        language=traits["language"],
        speakers=(traits["speaker"],),
        emotion=traits["emotion"],
        spoken=(_spoken(take, start, start + len(mel)),),
    )
    return _finish(canvas, clip, pool, stage, chance)


def _single(kind: str, pool: Pool, stage: Stage, chance: np.random.Generator) -> Clip:
    take = pool.draw(kind, chance)
    start = _pause(chance)
    canvas = _blank(start + len(take.mel) + _pause(chance))
    canvas.add(take.mel, start, chance.uniform(-0.4, 0.2))
    clip = Clip(frames=len(canvas.energies), sounds=(TimedWord(take.label, start, start + len(take.mel)),))
    if kind == "vocal":
        clip.vocal = take.label
    else:
        clip.note = {"instrument": take.label, **take.traits}
    return _finish(canvas, clip, pool, stage, chance)


def _sounds(pool: Pool, stage: Stage, chance: np.random.Generator, *, is_silent: bool) -> Clip:
    takes = [] if is_silent else [pool.draw("event", chance) for _ in range(int(chance.integers(0, 3)))]
    length = max(
        1.2, sum(len(take.mel) + 20 for take in takes) / 100, chance.uniform(0.6, 1.0) * stage.most_seconds
    )
    canvas = _blank(min(round(100 * min(length, 12.0)), MAX_FRAMES))
    clock, labels, places = _pause(chance), [], []
    for take in takes:
        if clock < len(canvas.energies) - 30:
            canvas.add(take.mel, clock, chance.uniform(-0.6, 0.3))
            labels.append(take.label)
            places.append(TimedWord(take.label, clock, min(clock + len(take.mel), len(canvas.energies))))
        clock += len(take.mel) + int(chance.integers(0, 40))
    clip = Clip(frames=len(canvas.energies), events=tuple(dict.fromkeys(labels)), sounds=tuple(places))
    return _finish(canvas, clip, pool, stage, chance, grounded=0.0 if is_silent else 0.75 if labels else 1.0)


def _blank(frames: int) -> _Canvas:
    # A clip ends with an audio token.
    whole = max(FRAMES_PER_TOKEN * 4, -(-frames // FRAMES_PER_TOKEN) * FRAMES_PER_TOKEN)
    return _Canvas(np.full((whole, MEL_BINS), 10.0**FLOOR, np.float32))


def _pause(chance: np.random.Generator) -> int:
    return int(chance.integers(2, 35))


def _long_pause(chance: np.random.Generator) -> int:
    """Draw a pause between utterances: mostly under a second, now and then up to three."""
    return int(chance.integers(100, 300) if chance.random() < 0.08 else 15 + 105 * chance.random() ** 2)


def _finish(
    canvas: _Canvas,
    clip: Clip,
    pool: Pool,
    stage: Stage,
    chance: np.random.Generator,
    grounded: float | None = None,
) -> Clip:
    """Add surroundings and noise, change microphone and throat, and write the model's input into the clip."""
    if chance.random() < (0.4 * stage.disturbed if grounded is None else grounded):
        clip.ground = _add_ground(canvas, pool, chance, behind=bool(clip.speakers or clip.note or clip.vocal))
    empty = not (clip.speakers or clip.note or clip.vocal or clip.events or clip.ground)
    if chance.random() < (0.6 if empty else 0.7 * stage.disturbed):
        if pool.kinds.get("noise") and chance.random() < SAMPLED_NOISE:
            _add_sampled_noise(canvas, pool, chance, loud=empty)
        else:
            _add_noise(canvas, chance, loud=empty)
        clip.is_noisy = True
    mel = np.log10(np.maximum(canvas.energies, 10.0**FLOOR))
    if clip.speakers and chance.random() < 0.5:
        mel = _warp(mel, chance.uniform(0.92, 1.09))
    mel = mel + _microphone(chance) + chance.uniform(-1.2, 0.6)
    mel = np.maximum(mel, FLOOR)
    mel = np.maximum(mel, mel.max() - DYNAMIC_RANGE)
    clip.mel = ((mel + 4) / 4).astype(np.float32)
    clip.frames = len(mel)
    return clip


def _add_ground(canvas: _Canvas, pool: Pool, chance: np.random.Generator, *, behind: bool) -> str:
    take = pool.draw("ground", chance)
    gain = chance.uniform(-1.6, -0.4) if behind else chance.uniform(-1.0, 0.2)
    canvas.add(_lasting(take, len(canvas.energies), chance), 0, gain)
    return take.label


def _add_sampled_noise(canvas: _Canvas, pool: Pool, chance: np.random.Generator, *, loud: bool) -> None:
    """Add noise that was made as samples: its energies move as real ones do, more in the narrow low bins."""
    gain = chance.uniform(-4.0, 0.0) if loud else chance.uniform(-4.2, -1.3)
    canvas.add(_lasting(pool.draw("noise", chance), len(canvas.energies), chance), 0, gain)


def _lasting(take: Take, frames: int, chance: np.random.Generator) -> NDArray[np.float16]:
    """Return so many frames of a take from anywhere in it, which goes on from its begin when it ends."""
    start = int(chance.integers(max(1, len(take.mel) - frames)))
    return np.concatenate([take.mel[start:], *[take.mel] * (frames // len(take.mel) + 1)])[:frames]


def _add_noise(canvas: _Canvas, chance: np.random.Generator, *, loud: bool) -> None:
    """Add steady noise with a smooth spectrum, from just audible to 8 dB below speech."""
    level = chance.uniform(-5.0, 0.0) if loud else chance.uniform(-4.5, -0.8)
    bins = np.linspace(-1, 1, MEL_BINS)
    shape = level + chance.uniform(-0.8, 0.3) * bins + chance.uniform(-0.4, 0.4) * np.cos(3 * bins)
    jitter = chance.normal(-0.04, 0.17, canvas.energies.shape)
    canvas.energies += 10.0 ** (shape - 1.5 + jitter)


def _warp(mel: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Stretch along the mel bins, as a longer or shorter throat does."""
    places = np.clip(np.arange(MEL_BINS) * factor, 0, MEL_BINS - 1)
    below = places.astype(int)
    above = np.minimum(below + 1, MEL_BINS - 1)
    share = (places - below).astype(np.float32)
    return np.asarray(mel[:, below] * (1 - share) + mel[:, above] * share)


def _microphone(chance: np.random.Generator) -> NDArray[np.float32]:
    """Draw a microphone's curve over the bins; one in eight is a telephone's."""
    bins = np.linspace(-1, 1, MEL_BINS)
    curve = chance.normal(0, 0.12) * bins + chance.normal(0, 0.1) * np.cos(
        np.pi * bins * chance.uniform(0.5, 2)
    )
    if chance.random() < 1 / 8:
        curve = curve - 6.0 * (np.arange(MEL_BINS) > 58) - 1.0 * (np.arange(MEL_BINS) < 8)
    return curve.astype(np.float32)
