"""Define what a task is: from options to a prompt, from an answer to parsed data, from chunks to findings."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict

from pipeline.tasks.findings import Findings, Part
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import Prompt, Tag

Language = Literal["en", "zh", "de", "es", "ko", "fr", "ja", "it"]
"""The codes of ``qwen_audio.tags.LANGUAGES``, spelled out so that OpenAPI lists them."""

Parsed = dict[str, Any]
"""One parsed answer: JSON values only, always with ``flags``, a list of ``Flag`` texts."""


class TaskError(ValueError):
    """A task was asked for something that it cannot do."""

    code = "task_error"
    retryable = False


class UnknownTask(TaskError):
    """There is no task of this name."""

    code = "unknown_task"


class Flag(StrEnum):
    """What a reader should know about an answer, on its result and on the findings made of it."""

    EMPTY = "empty"  # the model had nothing to say
    UNPARSED = "unparsed"  # it said something, and nothing readable was left
    STRAY_TAGS = "stray_tags"  # control tokens stood where text belongs and were taken out
    MISSING_TIMES = "missing_times"  # word times were asked for, and only text came
    REPAIRED_TIMES = "repaired_times"  # the pattern of times and words was broken; some times are estimates
    CUT_BY_LIMIT = "cut_by_limit"  # the token limit ended the answer
    CUT_BY_DEADLINE = "cut_by_deadline"
    CANCELLED = "cancelled"
    LOOP = "loop"  # the answer repeated itself and was cut


class TaskOptions(BaseModel):
    """What every task's options share: unknown names and look-alike types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


OptionsT = TypeVar("OptionsT", bound=TaskOptions)

FLAG_OF_ENDING: dict[FinishReason, Flag] = {
    FinishReason.LENGTH: Flag.CUT_BY_LIMIT,
    FinishReason.LOOP: Flag.LOOP,
    FinishReason.DEADLINE: Flag.CUT_BY_DEADLINE,
    FinishReason.CANCELLED: Flag.CANCELLED,
}


def ending_flags(answer: Answer) -> list[Flag]:
    """Return the flag of an answer that did not end by itself, or nothing."""
    flag = FLAG_OF_ENDING.get(answer.finish_reason)
    return [] if flag is None else [flag]


def confidence(answer: Answer) -> float | None:
    """Return the answer's ``avg_logprob`` where JSON can hold it, else None."""
    value = answer.avg_logprob
    return value if value is not None and math.isfinite(value) else None


class Task(ABC, Generic[OptionsT]):
    """One kind of finding. Pure, without state, and free of torch; every process may hold it.

    ``prompt_version`` is part of a request's key: raise it whenever the prompt, the limits or the parsed form
    change, so that old results are not taken for new ones.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    prompt_version: ClassVar[int]
    stop: ClassVar[tuple[Tag, ...]] = (Tag.END_OF_TEXT, Tag.IM_START, Tag.IM_END)
    """The tags that end an answer: the base model's, and those of the Chat checkpoint."""

    Options: type[OptionsT]

    @abstractmethod
    def prompt(self, options: OptionsT) -> Prompt:
        """Return what follows the audio, in the official order of tags."""

    @abstractmethod
    def limit(self, options: OptionsT, heard_seconds: float) -> int:
        """Return the most tokens that an answer about ``heard_seconds`` of audio may have."""

    @abstractmethod
    def applies(self, speech_samples: int, options: OptionsT) -> bool:
        """Say whether a chunk with this much speech (samples at 16 kHz) is worth asking about."""

    @abstractmethod
    def parse(self, answer: Answer, heard_samples: int, options: OptionsT) -> Parsed:
        """Turn an answer into JSON data; never raises on what a model said. Times count from the heard start."""

    @abstractmethod
    def merge(self, parts: Sequence[Part], options: OptionsT) -> Findings:
        """Make findings of the chunks, given per channel in timeline order; use ``pipeline.stitching.stitch``."""
