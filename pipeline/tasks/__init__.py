"""List the tasks: one module each, found by name, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pipeline.tasks.caption import Caption
from pipeline.tasks.emotion import Emotion
from pipeline.tasks.task import Task, UnknownTask
from pipeline.tasks.transcribe import Transcribe

TASKS: Mapping[str, Task[Any]] = MappingProxyType(
    {task.name: task for task in (Transcribe(), Caption(), Emotion())}
)
"""Every task by its name."""


def get_task(name: str) -> Task[Any]:
    """Return the task of this name; raises ``UnknownTask`` with the list of those that exist."""
    try:
        return TASKS[name]
    except KeyError:
        raise UnknownTask(f"there is no task {name!r}: choose one of {', '.join(TASKS)}") from None
