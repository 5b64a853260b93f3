"""Decide how hard the clips are at each point of a run: short and clean first, then long and disturbed."""

from __future__ import annotations

import numpy as np

from qwen_audio.tokenizer import QwenAudioTokenizer
from training.examples import Example, Shares, draw_branches, encode
from training.loader import Draw
from training.mixing import Pool, Stage, mix

STAGES = (
    (0.00, Stage(most_words=2, most_seconds=1.5, several=0.0, disturbed=0.2)),
    (0.04, Stage(most_words=4, most_seconds=2.5, several=0.0, disturbed=0.4)),
    (0.12, Stage(most_words=9, most_seconds=4.0, several=0.0, disturbed=0.6)),
    (0.25, Stage(most_words=9, most_seconds=7.0, several=0.2, disturbed=0.8)),
    (0.38, Stage(most_words=9, most_seconds=12.0, several=0.3, disturbed=1.0)),
    (0.50, Stage(most_words=9, most_seconds=16.0, several=0.25, disturbed=1.0)),
    (0.64, Stage(most_words=9, most_seconds=28.0, several=0.2, disturbed=1.0)),
)
"""From which share of the run on a stage counts."""


def stage_at(progress: float) -> Stage:
    """Return the stage at a share of the run, 0 to 1."""
    return [stage for begin, stage in STAGES if begin <= progress][-1]


def drawer(pool: Pool, tokenizer: QwenAudioTokenizer, shares: Shares = Shares()) -> Draw:  # noqa: B008  # frozen
    """Return what a loader draws its examples with."""

    def draw(chance: np.random.Generator, progress: float) -> Example:
        clip = mix(pool, stage_at(progress), chance)
        return encode(clip, draw_branches(clip, shares, chance), tokenizer)

    return draw
