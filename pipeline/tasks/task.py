"""Define what a task is: it hears a chunk by asking questions, and makes findings of all chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationInfo

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

Language = Literal["en", "zh", "de", "es", "ko", "fr", "ja", "it"]
"""The codes of ``qwen_audio.tags.LANGUAGES``, spelled out so that OpenAPI lists them."""

AnyLanguage = Literal["auto", Language]


class TaskError(ValueError):
    """A task was asked for something that it cannot do."""

    code = "task_error"
    retryable = False


class UnknownTask(TaskError):
    """There is no task of this name."""

    code = "unknown_task"


class ModelKind(StrEnum):
    """Which of the two checkpoints a task is for."""

    BASE = "base"  # Qwen-Audio: tags
    CHAT = "chat"  # Qwen-Audio-Chat: conversation


class TaskOptions(BaseModel):
    """What every task's options share: unknown names and look-alike types are refused.

    Workers read stored ones with it too: a validator that comes later than its options refuses only ``is_asked``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


ASKED: Mapping[str, bool] = MappingProxyType({"asked": True})
"""The validation context of options that somebody asks with now, unlike those that are stored."""


def is_asked(info: ValidationInfo) -> bool:
    """Say whether options that are being validated are asked with now."""
    return info.context == ASKED


OptionsT = TypeVar("OptionsT", bound=TaskOptions)


class Task(ABC, Generic[OptionsT]):
    """One kind of finding. Pure, without state, and free of torch; every process may hold it.

    ``prompt_version`` is part of a request's key: raise it whenever the prompt, the limits or the parsed form
    change, so that old results are not taken for new ones. ``is_experimental`` says that no prompt was published.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    prompt_version: ClassVar[int]
    model_kind: ClassVar[ModelKind] = ModelKind.BASE
    is_experimental: ClassVar[bool] = False
    cost: ClassVar[str]
    """What it costs beside the audio, which all tasks of a chunk share: for people."""
    heard: ClassVar[str] = "every chunk"
    """Where it is asked: for people."""
    view: ClassVar[str] = "annotations"
    """The table or view of SQL that shows what it finds."""
    limits: ClassVar[Mapping[str, int]]
    """The most that may be asked for and the most that it answers, by names that say of what."""
    example: ClassVar[dict[str, Any]] = {}
    """Options that show what it can do."""

    Options: type[OptionsT]

    @abstractmethod
    def prompt(self, options: OptionsT) -> Prompt:
        """Return what follows the audio for the main question, in the official order of tags."""

    @abstractmethod
    def hear(self, chunk: HeardChunk, options: OptionsT) -> Hearing:
        """Ask about a chunk and return JSON data; never raises on what a model said. Times count from the heard start.

        What is asked follows from the chunk, the options and earlier answers alone, never from other requests.
        """

    def model_for(self, options: OptionsT) -> ModelKind:
        """Say which checkpoint answers these options."""
        return self.model_kind

    def references(self, options: OptionsT) -> tuple[str, ...]:
        """Return the ids of recordings that are heard with every chunk, to compare it with them."""
        return ()

    @abstractmethod
    def applies(self, speech_samples: int, options: OptionsT) -> bool:
        """Say whether a chunk with this much speech (samples at 16 kHz) is worth asking about."""

    @abstractmethod
    def merge(self, parts: Sequence[Part], options: OptionsT) -> Findings:
        """Make findings of the chunks, given per channel in timeline order; use ``pipeline.stitching.stitch``."""


class PlainTask(Task[OptionsT]):
    """A task that asks one question about the whole chunk."""

    @abstractmethod
    def limit(self, options: OptionsT, heard_seconds: float) -> int:
        """Return the most tokens that an answer about ``heard_seconds`` of audio may have."""

    @abstractmethod
    def parse(self, answer: Answer, heard_samples: int, options: OptionsT) -> Parsed:
        """Turn an answer into JSON data; never raises on what a model said."""

    def hear(self, chunk: HeardChunk, options: OptionsT) -> Hearing:
        """Ask, a second time with a larger limit where the first cut the answer."""
        (answer,) = yield from ask_patiently(
            [Question(self.prompt(options), self.limit(options, chunk.seconds))]
        )
        return self.parse(answer, chunk.samples, options)
