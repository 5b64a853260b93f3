"""List what each task can answer where its answers are closed: the label maps that go with a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

from training import captions, foreign, world
from training.synthesis import music, sounds

LABELS_FILE = "labels.json"


def label_maps() -> dict[str, list[str]]:
    """Return the labels of each task by its name, in the order of their definition."""
    return {
        "language": ["en", *foreign.SENTENCES],
        "transcribe": list(world.words()),
        "caption": list(captions.every_part()),
        "scene": [*(scene for _, scene in sounds.GROUNDS.values()), sounds.NO_SCENE],
        "emotion": list(world.EMOTIONS),
        "vocal": list(sounds.VOCALS),
        "events": list(captions.every_event()),
        "speaker": ["man", "woman"],
        "music.instrument": list(music.INSTRUMENTS),
        "music.pitch": [str(pitch) for pitch in range(music.LOWEST_PITCH, music.HIGHEST_PITCH + 1)],
        "music.velocity": [str(velocity) for velocity in music.VELOCITIES],
        "ask": list(captions.every_question()),
    }


def write_labels(folder: Path) -> None:
    """Write ``labels.json`` beside a checkpoint of the mini world."""
    (folder / LABELS_FILE).write_text(
        json.dumps(label_maps(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
