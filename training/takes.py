"""Keep takes: one synthesised piece each, as log-mel energies, with all that is true about it, in shards on disk.

Examples are mixed from takes while training runs. Energies add where sounds overlap, so a mixture costs microseconds;
evaluation mixes real samples instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qwen_audio.features import HOP_SAMPLES, log_mel

Mel = NDArray[np.float16]  # (frames, 80), log10 of mel energies, 10 ms a frame


@dataclass(frozen=True)
class TimedWord:
    """A word and its place, in 10 ms frames from the start of its take or clip."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Take:
    """One piece: ``kind`` is sentence, words, foreign, ground, event, vocal or note.

    ``label`` is the sound's or instrument's name; ``phonemes`` holds one phoneme id per frame, (frames,), 0 where
    nothing is said, empty where it is not known. ``traits`` holds what only one kind has.
    """

    kind: str
    mel: Mel = field(repr=False)
    label: str = ""
    text: str = ""
    words: tuple[TimedWord, ...] = ()
    phonemes: NDArray[np.uint8] = field(default_factory=lambda: np.zeros(0, np.uint8), repr=False)
    traits: dict[str, Any] = field(default_factory=dict)


def mel_energies(samples: NDArray[np.float32]) -> Mel:
    """Compute the log10 mel energies of samples at 16 kHz, (frames, 80), by the model's own features."""
    mel = log_mel(samples)[:, : len(samples) // HOP_SAMPLES]
    return (mel * 4 - 4).T.contiguous().to(torch.float16).numpy()


def write_shard(path: Path, takes: Sequence[Take]) -> None:
    """Write takes to one ``.npz`` file; it appears whole or not at all."""
    entries = [
        {
            "kind": take.kind,
            "frames": len(take.mel),
            "label": take.label,
            "text": take.text,
            "words": [list(asdict(word).values()) for word in take.words],
            "has_phonemes": bool(len(take.phonemes)),
            "traits": take.traits,
        }
        for take in takes
    ]
    partial = path.with_suffix(".part")
    with partial.open("wb") as stream:
        np.savez(
            stream,
            mel=np.concatenate([take.mel for take in takes]),
            phonemes=np.concatenate([take.phonemes for take in takes]),
            entries=np.frombuffer(json.dumps(entries).encode(), np.uint8),
        )
    partial.replace(path)


def read_shard(path: Path) -> Iterator[Take]:
    """Read the takes of a shard back."""
    with np.load(path) as stored:
        mel, phonemes, entries = stored["mel"], stored["phonemes"], json.loads(stored["entries"].tobytes())
    frame = spoken = 0
    for entry in entries:
        frames = entry["frames"]
        named = frames if entry["has_phonemes"] else 0
        yield Take(
            entry["kind"],
            mel[frame : frame + frames],
            entry["label"],
            entry["text"],
            tuple(TimedWord(*word) for word in entry["words"]),
            phonemes[spoken : spoken + named],
            entry["traits"],
        )
        frame, spoken = frame + frames, spoken + named
