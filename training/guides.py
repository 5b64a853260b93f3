"""Show the language model where to listen: between two stamps of an answer it should look at the audio between them.

One head of each later layer is guided (after Tachibana et al., 2018, who guided a synthesiser); the others are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

CENTISECONDS_PER_TOKEN = 4
MARGIN = 1  # audio tokens on both sides of what a stamp can say
FIRST_TOKEN = 1  # the audio's first token stands behind <audio>
GUIDED_HEAD = 0
LEAST_MASS = 1e-4


def guided_places(
    ids: NDArray[np.int64], segments: NDArray[np.int64], first_stamp: int, stamps: int
) -> NDArray[np.int64]:
    """Return what should be looked at from where, (guided, 4): row, place, first and end of the places of the audio.

    ``ids`` and ``segments`` are a batch's, (rows, places). Behind a stamp and behind what is said there, it is the
    audio up to the next stamp of the branch.
    """
    found: list[tuple[int, int, int, int]] = []
    is_stamp = (ids >= first_stamp) & (ids < first_stamp + stamps) & (segments > 0)
    for row in range(len(ids)):
        places = np.flatnonzero(is_stamp[row])
        span = int((segments[row] == 0).sum())
        for place, after in pairwise(places):
            start, end = (int(ids[row, one]) - first_stamp for one in (place, after))
            if segments[row, place] != segments[row, after] or end < start:
                continue
            first = max(start // CENTISECONDS_PER_TOKEN - MARGIN, 0) + FIRST_TOKEN
            last = -(-end // CENTISECONDS_PER_TOKEN) + MARGIN + FIRST_TOKEN
            found += [(row, one, first, min(last, span)) for one in range(place, after)]
    return np.array(found, np.int64).reshape(-1, 4)


def guide_loss(weights: Sequence[torch.Tensor], guided: torch.Tensor) -> torch.Tensor:
    """Return how far the guided heads look away, a scalar; ``weights`` are (rows, heads, places, places) each."""
    if not len(guided):
        return torch.stack([one.sum() for one in weights]).sum() * 0.0
    row, place, first, end = guided.unbind(-1)
    losses = []
    for layer in weights:
        looks = layer[row, GUIDED_HEAD, place].float()  # (guided, places)
        keys = torch.arange(looks.shape[-1], device=looks.device)
        inside = (keys >= first[:, None]) & (keys < end[:, None])
        losses.append(-((looks * inside).sum(-1) + LEAST_MASS).log().mean())
    return torch.stack(losses).mean()
