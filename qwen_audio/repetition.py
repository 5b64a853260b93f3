"""Notice an answer that goes round in circles."""

from __future__ import annotations

from collections.abc import Sequence

MIN_COPIES = 4
MIN_TOKENS = 24  # a laugh or a refrain repeats a few tokens now and then
MAX_UNIT = 64  # tokens; a longer unit runs into its limit soon enough


def ends_in_a_loop(ids: Sequence[int]) -> bool:
    """Say whether the ids end in exact copies of one unit: at least 4 of them, and at least 24 tokens in all.

    Asked after every token of every answer: whoever has not said the last id lately is done at once.
    """
    if len(ids) < MIN_TOKENS:
        return False
    most = min(MAX_UNIT, len(ids) // MIN_COPIES)
    last, before = ids[-1], ids[-1 - most : -1]
    if last not in before:
        return False
    return any(id_ == last and _repeats(ids, most - place) for place, id_ in enumerate(before))


def _repeats(ids: Sequence[int], unit: int) -> bool:
    tail = max(MIN_COPIES, -(-MIN_TOKENS // unit)) * unit
    return len(ids) >= tail and ids[-tail:-unit] == ids[len(ids) - tail + unit :]
