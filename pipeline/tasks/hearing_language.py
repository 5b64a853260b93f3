"""Find which language is spoken, and whether anybody speaks at all, from the model's own next-token distribution."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.tasks.parsed import DIGITS
from pipeline.tasks.prompts import language_prompt
from pipeline.tasks.questions import Question
from qwen_audio.answers import Answer
from qwen_audio.tags import LANGUAGES, Prompt, Tag

UNKNOWN = "unknown"
AUTO = "auto"
FALLBACK = "en"  # what is assumed where the model is sure of nothing
DOUBT = 0.25  # a second language at least this likely is heard too, and the neighbours decide

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
    """Return the probability of each language code and of ``unknown``, which sum to 1; empty when none is known."""
    return {_CODES[text]: round(share, DIGITS) for text, share in shares_of(answer).items() if text in _CODES}


def best_language(probabilities: Mapping[str, float]) -> FoundLanguage:
    """Choose the likeliest language; where ``unknown`` is likelier, the likeliest of the rest is only assumed."""
    spoken = {code: value for code, value in probabilities.items() if code != UNKNOWN}
    best = max(spoken, key=spoken.__getitem__, default=FALLBACK)
    is_known = spoken.get(best, 0.0) > probabilities.get(UNKNOWN, 0.0)
    return FoundLanguage(best, is_known, probabilities)


def doubtful_second(language: FoundLanguage) -> str | None:
    """Return the language that it may be as well, where the model is of two minds; None where it is sure."""
    others = {
        code: value
        for code, value in language.probabilities.items()
        if code not in (language.code, UNKNOWN) and value >= DOUBT
    }
    return max(sorted(others), key=others.__getitem__, default=None)


def find_language(asked: str) -> Generator[Sequence[Question], Sequence[Answer], FoundLanguage]:
    """Return the language that was asked for, or ask the model where that is ``auto``."""
    if asked != AUTO:
        return FoundLanguage(asked, True, {})
    (answer,) = yield [language_question()]
    return best_language(read_probabilities(answer))


def probability(answer: Answer) -> float | None:
    """Return the probability that one of the candidates follows, None when a score is not a number or none is there."""
    scores = answer.scores.values()
    if not scores or any(map(math.isnan, scores)):
        return None
    return round(min(sum(math.exp(min(score, 0.0)) for score in scores), 1.0), DIGITS)


def shares_of(answer: Answer) -> dict[str, float]:
    """Return how likely each candidate is among all, which sums to 1; empty when a score is not a number or all are
    impossible.
    """
    best = max(answer.scores.values(), default=-math.inf)
    if not math.isfinite(best) or any(map(math.isnan, answer.scores.values())):
        return {}
    weights = {name: math.exp(score - best) for name, score in answer.scores.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def no_speech_question(transcript: Prompt) -> Question:
    """Ask how likely the transcript is silence or ends before it begins."""
    return Question(transcript, candidates=(Tag.SILENCE, Tag.END_OF_TEXT))
