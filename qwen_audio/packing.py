"""Group clips for the encoder and prefixes for the language model, so that little is padded. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

SIMILAR = 1.25  # the longest clip of an encoder call beside its shortest


def similar(frames: Sequence[int], most: int) -> list[list[int]]:
    """Group the places of clips for the encoder: similar lengths together, padded to at most ``most`` frames."""
    groups: list[list[int]] = []
    for place in sorted(range(len(frames)), key=lambda place: frames[place]):
        group = groups[-1] if groups else []
        fits = (len(group) + 1) * frames[place] <= most
        if group and fits and frames[place] <= SIMILAR * frames[group[0]]:
            group.append(place)
        else:
            groups.append([place])
    return groups


def pack(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Group the places of prefixes, in order, so that each group has at most ``most`` positions, or one member."""
    groups: list[list[int]] = []
    left = 0
    for place, length in enumerate(lengths):
        if not groups or length > left:
            groups.append([])
            left = most
        groups[-1].append(place)
        left -= length
    return groups
