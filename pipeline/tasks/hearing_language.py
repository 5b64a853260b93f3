"""Find which language is spoken, and whether anybody speaks at all, from the model's own next-token distribution."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.tasks.prompts import language_prompt
from pipeline.tasks.questions import Question
from qwen_audio.answers import Answer
from qwen_audio.tags import LANGUAGES, Prompt, Tag

UNKNOWN = "unknown"
AUTO = "auto"
FALLBACK = "en"  # what is assumed where the model is sure of nothing
DIGITS = 4

_CODES = {str(tag): code for code, tag in LANGUAGES.items()} | {str(Tag.UNKNOWN): UNKNOWN}
_CANDIDATES = (*LANGUAGES.values(), Tag.UNKNOWN)


@dataclass(frozen=True)
class FoundLanguage:
    """The language to go on with, whether it was given or sure, and the probabilities, empty where it was given."""

    code: str
    is_known: bool
    probabilities: Mapping[str, float]


def language_question() -> Question:
    """Ask for the distribution over the eight languages and ``unknown``."""
    return Question(language_prompt(), candidates=_CANDIDATES)


def read_probabilities(answer: Answer) -> dict[str, float]:
    """Return the probability of each language code and of ``unknown``, which sum to 1; empty when none is finite."""
    scores = {_CODES[text]: score for text, score in answer.scores.items() if text in _CODES}
    best = max(scores.values(), default=-math.inf)
    if not math.isfinite(best):
        return {}
    weights = {code: math.exp(score - best) for code, score in scores.items()}
    return {code: round(weight / sum(weights.values()), DIGITS) for code, weight in weights.items()}


def best_language(probabilities: Mapping[str, float]) -> FoundLanguage:
    """Choose the likeliest language; where ``unknown`` is likelier, the likeliest of the rest is only assumed."""
    spoken = {code: value for code, value in probabilities.items() if code != UNKNOWN}
    best = max(spoken, key=spoken.__getitem__, default=FALLBACK)
    is_known = spoken.get(best, 0.0) > probabilities.get(UNKNOWN, 0.0)
    return FoundLanguage(best, is_known, probabilities)


def find_language(asked: str) -> Generator[Sequence[Question], Sequence[Answer], FoundLanguage]:
    """Return the language that was asked for, or ask the model where that is ``auto``."""
    if asked != AUTO:
        return FoundLanguage(asked, True, {})
    (answer,) = yield [language_question()]
    return best_language(read_probabilities(answer))


def probability(answer: Answer) -> float | None:
    """Return the probability that one of the candidates follows, None when it is not finite."""
    total = sum(math.exp(score) for score in answer.scores.values() if score == score)  # NaN is not itself
    return round(min(total, 1.0), DIGITS) if answer.scores and math.isfinite(total) else None


def share_of(answer: Answer, text: str) -> float:
    """Return how likely one candidate is among all, 0 when nothing is finite."""
    best = max(answer.scores.values(), default=-math.inf)
    if not math.isfinite(best):
        return 0.0
    weights = {name: math.exp(score - best) for name, score in answer.scores.items()}
    return weights.get(text, 0.0) / sum(weights.values())


def no_speech_question(transcript: Prompt) -> Question:
    """Ask how likely the transcript is silence or ends before it begins."""
    return Question(transcript, candidates=(Tag.SILENCE, Tag.END_OF_TEXT))
