"""Say for each 40 ms of a clip what sounds in it, on a track for each kind of thing: what the encoder learns to hear.

The tracks are independent of each other, as the things are: somebody speaks, happily, in English, while it rains.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training import foreign, world
from training.clips import FRAMES_PER_TOKEN, Clip
from training.synthesis import music, sounds

IGNORED = -100  # a place that no loss looks at, torch's own convention

TRACKS: dict[str, tuple[str, ...]] = {
    "word": world.words(),
    "ground": tuple(sounds.GROUNDS),
    "sound": (*sounds.EVENTS, *sounds.VOCALS, *music.INSTRUMENTS),
    "language": ("en", *foreign.SENTENCES),
    "speaker": ("man", "woman"),
    "emotion": world.EMOTIONS,
    "pitch": tuple(str(pitch) for pitch in range(music.LOWEST_PITCH, music.HIGHEST_PITCH + 1)),
}
"""The labels of each track, words first; label k has id k + 1, and 0 is nothing."""

SIZES = tuple(1 + len(labels) for labels in TRACKS.values())
_IDS = {track: {label: number for number, label in enumerate(labels, 1)} for track, labels in TRACKS.items()}


def track_labels(clip: Clip) -> NDArray[np.int64]:
    """Return the label of every token on every track, (tracks, tokens)."""
    tokens = clip.frames // FRAMES_PER_TOKEN
    labels = {track: np.zeros(tokens, np.int64) for track in TRACKS}
    for track, label, start, end in _places(clip):
        begin = round(start / FRAMES_PER_TOKEN)
        labels[track][begin : max(round(end / FRAMES_PER_TOKEN), begin + 1)] = _IDS[track].get(label, 0)
    return np.stack(list(labels.values()))


def unknown_labels(frames: int) -> NDArray[np.int64]:
    """Return labels of a clip of which nothing is known, (tracks, tokens)."""
    return np.full((len(TRACKS), frames // FRAMES_PER_TOKEN), IGNORED)


def _places(clip: Clip) -> Iterator[tuple[str, str, int, int]]:
    """Yield (track, label, first frame, end frame)."""
    if clip.ground:
        yield "ground", clip.ground, 0, clip.frames
    for word in clip.words:
        yield "word", word.text, word.start, word.end
    for sound in clip.sounds:
        yield "sound", sound.text, sound.start, sound.end
        if clip.note:
            yield "pitch", str(clip.note["pitch"]), sound.start, sound.end
    for one in clip.spoken:
        yield "language", one.language, one.start, one.end
        yield "speaker", one.speaker, one.start, one.end
        yield "emotion", one.emotion, one.start, one.end
