"""Say what a task asks about a chunk and how it listens: questions out, answers in, parsed data at the end."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from pipeline.tasks.findings import SAMPLES_PER_SECOND, Span
from pipeline.tasks.parsed import Parsed
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import Prompt, Tag

LARGER_LIMIT = 2  # how much more an answer may have that its limit has cut
LONGEST_ANSWER = 1_024  # tokens: audio, prompt and answer stay inside the trained 2,048
MIN_HEARD_SAMPLES = 1_600  # 0.1 s: less is no sound that could be understood
STOP_TAGS = (Tag.END_OF_TEXT, Tag.IM_START, Tag.IM_END)
"""The tags that end an answer: the base model's, and those of the Chat checkpoint."""


@dataclass(frozen=True)
class Opening:
    """What an engine opens for questions: a window of the chunk or all of it, plain or as a conversation."""

    window: Span | None = None
    is_chat: bool = False
    references: tuple[str, ...] = ()


WHOLE = Opening()


@dataclass(frozen=True)
class Question:
    """One thing to ask about a window of a chunk; equal questions about a chunk are asked once, whoever asks.

    ``window`` is in samples of the heard span, None for all of it. With ``candidates`` nothing is decoded: the answer
    holds the log-probability of each right behind the prompt. ``is_chat`` lays the chunk out as a conversation, behind
    the recordings with the ids in ``references``.
    """

    prompt: Prompt
    limit: int = 1
    window: Span | None = None
    candidates: tuple[Tag | str, ...] = ()
    is_chat: bool = False
    references: tuple[str, ...] = ()

    @property
    def opening(self) -> Opening:
        """What has to be open to ask."""
        return Opening(self.window, self.is_chat, self.references)


@dataclass(frozen=True)
class HeardChunk:
    """What a task knows of a chunk before it asks: how long it is, and where speech lies, from the heard start.

    ``speech`` is None where nobody looked. ``owned`` is what the chunk answers for, None for all of it; its neighbours
    hear and answer for the rest. ``clip_samples`` is the longest clip that the model follows word by word, None where
    that is any chunk.
    """

    samples: int
    speech: tuple[Span, ...] | None = None
    owned: Span | None = None
    clip_samples: int | None = None

    @property
    def seconds(self) -> float:
        """How long the heard span is."""
        return self.samples / SAMPLES_PER_SECOND

    @property
    def own(self) -> Span:
        """What the chunk answers for."""
        return self.owned or (0, self.samples)

    def window(self, span: Span) -> Span | None:
        """Return a span as a question names it: None where it is the whole chunk, which is encoded for all."""
        return None if span == (0, self.samples) else span

    def seconds_of(self, window: Span | None) -> float:
        """How long a window is."""
        return self.seconds if window is None else (window[1] - window[0]) / SAMPLES_PER_SECOND


Hearing = Generator[Sequence[Question], Sequence[Answer], Parsed]
"""A task listening to a chunk: it yields questions, gets their answers in the same order, and returns parsed data."""


def ask_patiently(
    questions: Sequence[Question],
) -> Generator[Sequence[Question], Sequence[Answer], list[Answer]]:
    """Ask, and ask once more, with twice the limit, what its limit has cut."""
    answers = list((yield questions) if questions else ())
    cut = [place for place, answer in enumerate(answers) if answer.finish_reason is FinishReason.LENGTH]
    again = [
        replace(questions[place], limit=min(LARGER_LIMIT * questions[place].limit, LONGEST_ANSWER))
        for place in cut
    ]
    if again:
        for place, answer in zip(cut, (yield again), strict=True):
            answers[place] = answer
    return answers
