"""Ask whether there is something to ask about: a voice, music."""

from __future__ import annotations

from pipeline.tasks.hearing_language import shares_of
from pipeline.tasks.parsed import DIGITS
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
    """Return how likely yes is beside no, 0 when the model cannot tell."""
    return round(shares_of(answer).get(YES, 0.0), DIGITS)


def is_open(answer: Answer) -> bool:
    """Say whether the answer is yes; a model that cannot tell opens nothing."""
    shares = shares_of(answer)
    return shares.get(YES, 0.0) > shares.get(NO, 0.0)
