"""Let tasks hear chunks whose answers a test has written."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.stitching import stitch
from pipeline.tasks import get_task
from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.questions import HeardChunk, Hearing, Question
from qwen_audio.answers import Answer, FinishReason

TEN_SECONDS = 160_000
HALF_MINUTE = HeardChunk(480_000)
IMPOSSIBLE = 1e-9


def answer(
    text: str, finish: FinishReason = FinishReason.STOP, logprobs: tuple[float, ...] = (-0.5,), **more: Any
) -> Answer:
    """An answer in as many tokens as it has log-probabilities."""
    return Answer(text, (0,) * len(logprobs), logprobs, finish, **more)


@dataclass
class Scripted:
    """A model that says what a test wrote, in the order of asking and the last for ever, and notes what was asked."""

    said: Sequence[str | Answer] = ("",)
    likely: Mapping[str, float] = field(default_factory=lambda: {"<|en|>": 1.0, "yes": 1.0})
    asked: list[Question] = field(default_factory=list)

    def __call__(self, question: Question) -> Answer:
        self.asked.append(question)
        if question.candidates:
            likely = {str(one): self.likely.get(str(one), IMPOSSIBLE) for one in question.candidates}
            scores = {text: math.log(share) for text, share in likely.items()}
            return Answer("", (), (), FinishReason.SCORED, scores)
        said = self.said[min(len(self.decoded), len(self.said)) - 1]
        return answer(said) if isinstance(said, str) else said

    @property
    def decoded(self) -> list[Question]:
        """The questions that asked for text."""
        return [question for question in self.asked if not question.candidates]


def listen(hearing: Hearing, model: Callable[[Question], Answer]) -> Parsed:
    """Answer every question of one hearing and return what it parsed."""
    try:
        questions = next(hearing)
        while True:
            questions = hearing.send([model(question) for question in questions])
    except StopIteration as end:
        return end.value


def hear(
    task_name: str,
    model: Callable[[Question], Answer] | str | Answer,
    chunk: HeardChunk = HALF_MINUTE,
    **options: Any,
) -> Parsed:
    """Let one task hear a chunk; a text or an answer stands for a model that always says it."""
    task = get_task(task_name)
    said = Scripted([model]) if isinstance(model, str | Answer) else model
    return listen(task.hear(chunk, task.Options(**options)), said)


def recording(
    task_name: str, *said: str | None, model: Callable[..., Scripted] = Scripted, **options: Any
) -> Findings:
    """Stitch chunks of ten seconds about each of which the model says something, or which it was not asked about."""
    parts = []
    for index, text in enumerate(said):
        span = index * TEN_SECONDS, (index + 1) * TEN_SECONDS
        parsed = None if text is None else hear(task_name, model([text]), HeardChunk(TEN_SECONDS), **options)
        parts.append(Part(0, index, *span, *span, parsed=parsed))
    return stitch(task_name, options, parts)


def words_of(parsed: Parsed) -> list[tuple[str, int, int]]:
    """The words with their times in centiseconds from the heard start."""
    return [(one["text"], one["start_sample"] // 160, one["end_sample"] // 160) for one in parsed["words"]]
