"""Lay out a conversation with the Chat checkpoint as ChatML; free of torch.

The clips come first and are what conversations about them share: ``engine.open_parts(clip_parts(clips))``, then
``prefix.branch(question_prompt(question, history), limit, stop=STOP)`` for each question. Roles, line ends and texts
are parts of their own, as the official code tokenises them, and text can never become a control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from qwen_audio.errors import InvalidPrompt
from qwen_audio.tags import Prompt, Tag, TimeTag

SYSTEM = "You are a helpful assistant."
STOP = (Tag.IM_END, Tag.IM_START)  # what ends an answer, beside the end of text

Clip = TypeVar("Clip")


@dataclass(frozen=True)
class Turn:
    """A question that was answered before."""

    question: str
    answer: str


def clip_parts(clips: Sequence[Clip], system: str = SYSTEM) -> list[Prompt | Clip]:
    """Return what stands before the first question, up to the last clip; raises ``InvalidPrompt`` without clips."""
    if not clips:
        raise InvalidPrompt("a conversation needs a clip to be about")
    parts: list[Prompt | Clip] = []
    before = (*_said("system", system), "\n", Tag.IM_START, "user", "\n")
    for number, clip in enumerate(clips, start=1):
        parts += [Prompt((*before, f"Audio {number}:")), clip]
        before = ("\n",)
    return parts


def question_prompt(question: str, history: Sequence[Turn] = ()) -> Prompt:
    """Return what follows the last clip: earlier turns, the question, and the opening of the answer."""
    parts: list[Tag | TimeTag | str] = ["\n"]  # the first question stands in the turn of the clips
    for turn in history:
        parts += [turn.question, Tag.IM_END, "\n", *_said("assistant", turn.answer), "\n"]
        parts += [Tag.IM_START, "user", "\n"]
    return Prompt((*parts, question, Tag.IM_END, "\n", Tag.IM_START, "assistant", "\n"))


def _said(role: str, text: str) -> tuple[Tag | str, ...]:
    return Tag.IM_START, role, "\n", text, Tag.IM_END
