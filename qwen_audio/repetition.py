"""Notice an answer that goes round in circles."""

from __future__ import annotations

from collections.abc import Sequence

MIN_COPIES = 4
MIN_TOKENS = 24  # a laugh or a refrain repeats a few tokens now and then
MAX_UNIT = 64  # tokens; a longer unit runs into its limit soon enough


def ends_in_a_loop(ids: Sequence[int]) -> bool:
    """Say whether the ids end in exact copies of one unit: at least 4 of them, and at least 24 tokens in all."""
    return any(_repeats(ids, unit) for unit in range(1, min(MAX_UNIT, len(ids) // MIN_COPIES) + 1))


def _repeats(ids: Sequence[int], unit: int) -> bool:
    copies = max(MIN_COPIES, -(-MIN_TOKENS // unit))
    tail = copies * unit
    if len(ids) < tail or ids[-1] != ids[-1 - unit]:
        return False
    return ids[-tail:-unit] == ids[len(ids) - tail + unit :]
