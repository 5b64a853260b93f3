"""Perform the scenes: speak and sound them as training does, write the files and what is true about them.

Voices, emotions and sounds come from the makers that training uses, with other numbers and with voices that training
never hears; captions are in training's words. So the mini model has a chance to answer exactly, and no memory to
answer from.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training import captions, world
from training.clips import Clip
from training.errors import TrainingError
from training.samples.recording import Piece, duration_ms, encode, lay
from training.samples.scenes import SCENES, Play, Say, Scene
from training.synthesis import sounds, speech

SEED = 20_261_122
TAIL_MS = 300  # a recording ends a little after its last sound
SPEECH_DBFS = -23.0
HISS_DBFS = -56.0  # a room is never as silent as zeros, and codecs make odd sounds of zeros
HIGHEST_PEAK = 0.9

_INNERMOST = re.compile(r"\{\s+([^{}\[\]]+?)\s+\}")


class RunTogether(TrainingError, ValueError):
    """The synthesiser ran words of a sample together, so that their times are unknown."""

    code = "run_together"


@dataclass(frozen=True)
class Performance:
    """A turn on the time line; ``words`` are (text, start, end) in ms of the recording."""

    turn: Say | Play
    piece: Piece
    start_ms: int
    end_ms: int
    words: tuple[tuple[str, int, int], ...] = ()


def make_all(folder: Path, scenes: tuple[Scene, ...] = SCENES) -> None:
    """Write every scene's recording into ``folder/audio`` and what is in them into ``folder/samples.json``.

    Raises ``EspeakMissing``, and ``RunTogether`` for a text whose words have no times of their own.
    """
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    descriptions = []
    for scene in scenes:
        path = folder / "audio" / scene.encoding.file
        descriptions.append(_make(scene, path))
        sys.stdout.write(f"{path}  {path.stat().st_size / 1_000:,.0f} kB\n")
    text = json.dumps(descriptions, ensure_ascii=False, indent=2)
    # One line for each thing that has a time: a page instead of thousands of lines.
    text = _INNERMOST.sub(lambda match: "{" + re.sub(r"\n\s+", " ", match[1]) + "}", text)
    (folder / "samples.json").write_text(text + "\n", encoding="utf-8")


def _make(scene: Scene, path: Path) -> dict[str, Any]:
    chance = np.random.default_rng([SEED, *scene.name.encode()])
    performed = list(_perform(scene, chance))
    length_ms = max(performed[-1].end_ms + TAIL_MS, round(scene.seconds * 1_000))
    pieces = [one.piece for one in performed]
    if scene.ground:
        ground = sounds.make_sound(scene.ground, length_ms / 1_000, chance)
        pieces.append(Piece(_level(ground, scene.ground_dbfs), 0))
    else:
        hiss = sounds.coloured(length_ms * sounds.SAMPLING_RATE // 1_000, chance, 60, 5_000, 0.3)
        pieces.append(Piece(_level(hiss, HISS_DBFS), 0))
    encode(lay(pieces, length_ms, scene.encoding.channels), scene.encoding, path)
    return _describe(scene, performed, duration_ms(path))


def _perform(scene: Scene, chance: np.random.Generator) -> Iterator[Performance]:
    """Yield turn after turn, each ``gap_ms`` behind the last word or sound before it."""
    clock = 0
    for turn in scene.turns:
        start = clock + turn.gap_ms
        one = _say(turn, start, chance) if isinstance(turn, Say) else _play(turn, start, chance)
        clock = max(clock, one.end_ms)
        yield one


def _say(turn: Say, start_ms: int, chance: np.random.Generator) -> Performance:
    """Say a line so that its first word begins at a time."""
    who = turn.speaker
    line = world.Line(
        text=world.plain(turn.text),
        language="en",
        voice=who.voice,
        speaker=who.sex,
        emotion=who.emotion,
        prosody=world.draw_prosody(who.emotion, chance),
        kind="sentence",
    )
    said = speech.speak(line)
    if said is None:
        raise RunTogether(
            f"espeak-ng runs words together in {line.text!r}: training leaves such lines out, and so "
            "must the samples. Write another sentence into training/samples/scenes.py."
        )
    audio_ms = start_ms - round(1_000 * said.words[0][1])
    words = tuple(
        (text, audio_ms + round(1_000 * start), audio_ms + round(1_000 * end))
        for text, start, end in said.words
    )
    piece = Piece(_level(said.samples.astype(np.float64), SPEECH_DBFS), audio_ms, who.channel)
    return Performance(turn, piece, start_ms, words[-1][2], words)


def _play(turn: Play, start_ms: int, chance: np.random.Generator) -> Performance:
    seconds = sounds.EVENT_SECONDS[turn.kind]
    wave = _level(sounds.make_sound(turn.kind, seconds, chance), turn.dbfs)
    return Performance(turn, Piece(wave, start_ms, turn.channel), start_ms, start_ms + round(1_000 * seconds))


def _level(wave: sounds.Wave, dbfs: float) -> sounds.Wave:
    """Bring a wave to a loudness, or as near to it as its peaks allow."""
    gain = 10 ** (dbfs / 20) / max(float(np.sqrt(np.mean(wave**2))), 1e-9)
    return np.asarray(wave * min(gain, HIGHEST_PEAK / max(float(np.max(np.abs(wave))), 1e-9)))


def _describe(scene: Scene, performed: list[Performance], total_ms: int) -> dict[str, Any]:
    said = [(one, one.turn) for one in performed if isinstance(one.turn, Say)]
    played = [(one, one.turn) for one in performed if isinstance(one.turn, Play)]
    heard: list[dict[str, Any]] = [
        {"kind": turn.kind, "channel": turn.channel, "start_ms": one.start_ms, "end_ms": one.end_ms}
        for one, turn in played
    ]
    if scene.ground:
        heard.insert(0, {"kind": scene.ground, "channel": None, "start_ms": 0, "end_ms": total_ms})
    return {
        "name": scene.name,
        "title": scene.title,
        "file": scene.encoding.file,
        "duration_ms": total_ms,
        "sampling_rate": scene.encoding.sampling_rate,
        "channels": scene.encoding.channels,
        "split": scene.split,
        "language": "en" if said else None,
        "utterances": [
            {
                "speaker": turn.speaker.name,
                "channel": turn.speaker.channel,
                "start_ms": one.start_ms,
                "end_ms": one.end_ms,
                "text": turn.text,
            }
            for one, turn in said
        ],
        "sounds": heard,
        "truth": _truth(scene, said, [turn.kind for _, turn in played]),
        "truth_by_channel": [
            _truth(
                scene,
                [(one, turn) for one, turn in said if turn.speaker.channel in (None, channel)],
                [turn.kind for _, turn in played if turn.channel in (None, channel)],
            )
            for channel in range(scene.encoding.channels if scene.split else 0)
        ],
        "words": [
            {"word": text, "channel": turn.speaker.channel, "start_ms": start, "end_ms": end}
            for one, turn in said
            for text, start, end in one.words
        ],
    }


def _truth(scene: Scene, said: list[tuple[Performance, Say]], events: list[str]) -> dict[str, str | None]:
    """Answer each task as training teaches to."""
    speakers = tuple(turn.speaker.sex for _, turn in said)
    clip = Clip(
        language="en" if said else None,
        speakers=speakers,
        ground=scene.ground,
        events=tuple(dict.fromkeys(events)),
    )
    emotions = {turn.speaker.emotion for _, turn in said}
    return {
        "transcribe": " ".join(text for one, _ in said for text, _, _ in one.words) or None,
        "language": "en" if said else None,
        "caption": captions.caption(clip),
        "scene": captions.scene(clip),
        "events": captions.events(clip).lower(),
        "emotion": emotions.pop() if len(emotions) == 1 else None,
    }
