"""Find which language is spoken, chunk by chunk and for the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from pipeline.tasks.findings import Annotation, Findings, Part, Summary
from pipeline.tasks.hearing_language import UNKNOWN, best_language, language_question, read_probabilities
from pipeline.tasks.items import join_equal
from pipeline.tasks.language_votes import likeliest, smooth
from pipeline.tasks.parsed import DIGITS, Flag
from pipeline.tasks.prompts import language_prompt
from pipeline.tasks.questions import HeardChunk, Hearing
from pipeline.tasks.task import Task, TaskOptions
from qwen_audio.tags import LANGUAGES, Prompt


class LanguageOptions(TaskOptions):
    """There is nothing to choose."""


class SpokenLanguage(Task[LanguageOptions]):
    """The spoken language. Parsed: ``label``, ``probabilities`` by code with ``unknown``, ``flags``."""

    name = "language"
    title = "Language"
    description = (
        "Which of eight languages is spoken, with probabilities, for each chunk with speech and for the recording. "
        "Neighbouring chunks have a say, so that one doubtful chunk does not break a conversation."
    )
    prompt_version = 1
    cost = "one step, no tokens"
    heard = "chunks with speech"
    view = "languages"
    limits = {"languages": len(LANGUAGES)}  # noqa: RUF012  # never changed
    Options = LanguageOptions

    def prompt(self, options: LanguageOptions) -> Prompt:
        """Return the start of a transcript, whose next token is a language's tag."""
        return language_prompt()

    def hear(self, chunk: HeardChunk, options: LanguageOptions) -> Hearing:
        """Read the distribution over the language tags."""
        (answer,) = yield [language_question()]
        probabilities = read_probabilities(answer)
        if not probabilities:
            return {"label": None, "probabilities": {}, "flags": [str(Flag.UNPARSED)]}
        found = best_language(probabilities)
        flags = [] if found.is_known else [str(Flag.UNKNOWN_LANGUAGE)]
        return {
            "label": found.code if found.is_known else UNKNOWN,
            "probabilities": probabilities,
            "flags": flags,
        }

    def applies(self, speech_samples: int, options: LanguageOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def merge(self, parts: Sequence[Part], options: LanguageOptions) -> Findings:
        """Smooth over neighbours and join what meets; the recording's language is the mean weighted by speech."""
        found: list[Annotation] = []
        weights: dict[str, float] = {}
        for _, group in groupby(parts, key=lambda part: part.channel):
            channel = [part for part in group if part.parsed is not None and part.parsed["probabilities"]]
            probabilities = [part.parsed["probabilities"] for part in channel if part.parsed is not None]
            speech = [part.speech_samples for part in channel]
            for place, part in enumerate(channel):
                mixed = smooth(probabilities, speech, place)
                found.append(_annotation(part, likeliest(mixed), mixed))
                for code, value in mixed.items():
                    weights[code] = weights.get(code, 0.0) + value * part.speech_samples
        total = sum(weights.values())
        if not total:
            return Findings(annotations=tuple(join_equal(found)))
        shares = {code: round(value / total, DIGITS) for code, value in sorted(weights.items())}
        label = likeliest(shares)
        summary = Summary(label=label, text=label, confidence=shares[label], data={"probabilities": shares})
        return Findings(annotations=tuple(join_equal(found)), summary=summary)


def _annotation(part: Part, label: str, mixed: Mapping[str, float]) -> Annotation:
    assert part.parsed is not None  # the caller leaves the others out
    flags = [Flag.UNKNOWN_LANGUAGE] if label == UNKNOWN else []
    return Annotation(
        task=SpokenLanguage.name,
        channel=part.channel,
        index=0,
        start_sample=part.owned_start,
        end_sample=part.owned_end,
        label=label,
        text=label,
        data={"probability": mixed[label], "avg_logprob": None},
        flags=tuple(map(str, flags)),
    )
