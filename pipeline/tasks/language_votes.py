"""Let neighbouring chunks have a say in which language a chunk is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.tasks.parsed import DIGITS

OWN_WEIGHT, NEIGHBOUR_WEIGHT = 1.0, 0.5


def smooth(
    probabilities: Sequence[Mapping[str, float]], speech: Sequence[int], place: int
) -> dict[str, float]:
    """Mix a chunk's probabilities by language with its neighbours', each weighted by how much speech it holds.

    ``probabilities`` and ``speech`` (samples) are those of the chunks of one channel in timeline order.
    """
    mixed: dict[str, float] = {}
    weight = 0.0
    for distance in (-1, 0, 1):
        other = place + distance
        if not 0 <= other < len(probabilities):
            continue
        share = (NEIGHBOUR_WEIGHT if distance else OWN_WEIGHT) * max(speech[other], 1)
        for code, value in probabilities[other].items():
            mixed[code] = mixed.get(code, 0.0) + share * value
        weight += share
    return {code: round(value / weight, DIGITS) for code, value in mixed.items()}


def likeliest(probabilities: Mapping[str, float]) -> str:
    """Return the likeliest language; of several that are equally likely, the first by its code."""
    return max(sorted(probabilities), key=probabilities.__getitem__)
