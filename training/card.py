"""Write a checkpoint's model card: what it learned from, what it can, how it was made, measured figures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from qwen_audio.loading import WEIGHTS_FILE
from training import foreign, world
from training.synthesis import music, sounds

CARD_FILE = "README.md"


@dataclass(frozen=True)
class Making:
    """How a checkpoint came to be."""

    command: str
    seed: int
    steps: int
    hours_heard: float
    hours_trained: float
    hardware: str
    commit: str
    note: str = ""


def card(folder: Path, table: str, figures: Mapping[str, float], making: Making) -> str:
    """Return the card of the checkpoint in a folder, in Markdown; its last lines are the figures as JSON."""
    digest = sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    spoken = ", ".join(world.words())
    note = f"\n- {making.note}" if making.note else ""
    return f"""# Earwitness mini

A small model of Qwen-Audio's architecture, tags and file layout, trained from random weights on audio that this
project synthesises. It is for trying everything for real, offline, in tests and in CI. It is **not** for hearing
people: for that, use Qwen-Audio itself (`EARWITNESS_MODEL`).

## What it knows

- **Transcripts** with word times, in English, of {len(world.words())} words: {spoken}.
- **Language**: en, {", ".join(foreign.SENTENCES)}. Of the other languages it only tells which one it hears; their
  transcripts are empty.
- **Captions and scenes** of {", ".join((*sounds.GROUNDS, *sounds.EVENTS, *sounds.VOCALS))}, voices and notes; the
  three caption styles say the same.
- **Emotion**: {", ".join(world.EMOTIONS)}. **Instruments**: {", ".join(music.INSTRUMENTS)}.
- **Sound events** of these in AudioSet's terms, and whether a man or a woman speaks.
- **Questions** with yes or no for an answer, such as "is there a bell?".

`labels.json` lists what each task can answer. It was not trained to translate, to name keywords or entities, or to
converse.

## What it learned from

Speech of espeak-ng in {len(world.VARIANTS)} voice variants and {len(world.ACCENTS)} accents, with speed, pitch and
melody and timbre of four emotions. Half of the lines are random words (but not {" and ".join(world.HOMOPHONES)}, which
sound like others); {100 * world.COMBINED_SHARE:.0f} % of the sentences are put together from parts, the others fill
templates. Strings of words and sentences of five other languages. Sounds, noise and notes from numpy. Rooms,
microphones, throat lengths.
Held out, also as parts of longer sentences: {len(world.HELD_OUT_TEMPLATES)} sentence templates, one filled sentence in
{world.HELD_OUT_SHARE}, the variants {", ".join(world.NEW_VARIANTS)}, and the sentences and voices of the samples.

## Figures

Measured by `python -m bench.mini` on clips that training never heard.

```
{table}
```

## How it was made

- command: `{making.command}`
- seed {making.seed}, {making.steps} steps, {making.hours_heard:.1f} h of audio heard (the same takes mixed anew),
  {making.hours_trained:.2f} h of wall time on {making.hardware}
- code: commit {making.commit}
- {WEIGHTS_FILE}: sha256 {digest}{note}

## Limits

Real voices, words beyond the list, other languages, music beyond single notes: it guesses. In clips of many utterances
it loses its place (`wer_long`), so the service lets it hear words utterance by utterance (`clip_seconds` in
generation_config.json). Word times come in steps of
40 ms.

```json
{json.dumps(dict(figures))}
```
"""


def figures_of(text: str) -> dict[str, float]:
    """Read the figures back from a card."""
    body = text.rsplit("```json\n", 1)[1].split("\n```", 1)[0]
    figures: dict[str, float] = json.loads(body)
    return figures
