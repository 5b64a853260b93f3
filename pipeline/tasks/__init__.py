"""List the tasks: one module each, found by name, free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pipeline.tasks.ask import Ask
from pipeline.tasks.caption import Caption
from pipeline.tasks.emotion import Emotion
from pipeline.tasks.events import Events
from pipeline.tasks.experiments import Entities, Keywords, Speaker
from pipeline.tasks.language import SpokenLanguage
from pipeline.tasks.locate import Locate
from pipeline.tasks.music import Music
from pipeline.tasks.scene import Scene
from pipeline.tasks.task import Task, UnknownTask
from pipeline.tasks.transcribe import Transcribe
from pipeline.tasks.translate import Translate
from pipeline.tasks.vocal import Vocal

TASKS: Mapping[str, Task[Any]] = MappingProxyType(
    {
        task.name: task
        for task in (
            Transcribe(),
            Translate(),
            SpokenLanguage(),
            Caption(),
            Scene(),
            Emotion(),
            Vocal(),
            Music(),
            Ask(),
            Locate(),
            Events(),
            Speaker(),
            Keywords(),
            Entities(),
        )
    }
)
"""Every task by its name; the experimental ones last."""


def get_task(name: str) -> Task[Any]:
    """Return the task of this name; raises ``UnknownTask`` with the list of those that exist."""
    try:
        return TASKS[name]
    except KeyError:
        raise UnknownTask(f"there is no task {name!r}: choose one of {', '.join(TASKS)}") from None
