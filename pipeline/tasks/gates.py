"""Ask whether there is something to ask about: a voice, music."""

from __future__ import annotations

from pipeline.tasks.hearing_language import share_of
from pipeline.tasks.prompts import question_prompt
from pipeline.tasks.questions import Question
from qwen_audio.answers import Answer

YES, NO = "yes", "no"
VOICE_QUESTION = "is there a human voice?"
MUSIC_QUESTION = "is there music?"


def gate(question: str) -> Question:
    """Ask a closed question and read how likely yes and no are, without decoding."""
    return Question(question_prompt(question), candidates=(YES, NO))


def probability_of_yes(answer: Answer) -> float:
    """Return how likely yes is beside no."""
    return round(share_of(answer, YES), 4)


def is_open(answer: Answer) -> bool:
    """Say whether the answer is yes."""
    return share_of(answer, YES) > share_of(answer, NO)
