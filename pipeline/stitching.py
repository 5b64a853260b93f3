"""Stitch what was parsed from chunks into the findings of a recording, in timeline order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

from pipeline.tasks import get_task
from pipeline.tasks.findings import Findings, Part


class Placed(Protocol):
    """Something with a place on the timeline."""

    @property
    def channel(self) -> int: ...  # noqa: D102
    @property
    def start_sample(self) -> int: ...  # noqa: D102


Found = TypeVar("Found", bound=Placed)


def stitch(task_name: str, options: Mapping[str, Any], parts: Iterable[Part]) -> Findings:
    """Return one request's findings in one recording, numbered from 0 in timeline order.

    ``parts`` are the recording's chunks in any order: findings depend on the chunks, not on who finished first.
    Channels are merged apart and then listed together by start, the lower channel first. Raises ``ValueError``
    when two parts claim one place, ``UnknownTask``, and ``ValidationError`` for wrong options.
    """
    task = get_task(task_name)
    known = task.Options.model_validate(dict(options))
    found = task.merge(_in_order(parts), known)
    return Findings(
        segments=tuple(replace(one, index=i) for i, one in enumerate(_by_start(found.segments))),
        annotations=tuple(replace(one, index=i) for i, one in enumerate(_by_start(found.annotations))),
        summary=found.summary,
    )


def _in_order(parts: Iterable[Part]) -> list[Part]:
    """Sort by channel and place; a doubled or overlapping chunk would double what it says."""
    ordered = sorted(parts, key=lambda part: (part.channel, part.owned_start))
    for before, part in pairwise(ordered):
        if before.channel == part.channel and part.owned_start < before.owned_end:
            raise ValueError(
                f"chunks {before.index} and {part.index} of channel {part.channel} both own sample {part.owned_start}"
            )
    return ordered


def _by_start(found: Sequence[Found]) -> list[Found]:
    """Sort by start, keeping the order inside a channel, where equal starts may follow each other."""
    return sorted(found, key=lambda one: (one.start_sample, one.channel))
