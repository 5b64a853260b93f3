"""Find which language is spoken, chunk by chunk and for the recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from pipeline.tasks.findings import Annotation, Findings, Part, Summary
from pipeline.tasks.hearing_language import UNKNOWN, best_language, language_question, read_probabilities
from pipeline.tasks.items import join_equal
from pipeline.tasks.parsed import Flag
from pipeline.tasks.prompts import language_prompt
from pipeline.tasks.questions import HeardChunk, Hearing
from pipeline.tasks.task import Task, TaskOptions
from qwen_audio.tags import LANGUAGES, Prompt

OWN_WEIGHT, NEIGHBOUR_WEIGHT = 1.0, 0.5
DIGITS = 4


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
            for place, part in enumerate(channel):
                smooth = _smooth(channel, place)
                label = max(sorted(smooth), key=smooth.__getitem__)
                found.append(_annotation(part, label, smooth))
                for code, value in smooth.items():
                    weights[code] = weights.get(code, 0.0) + value * part.speech_samples
        total = sum(weights.values())
        if not total:
            return Findings(annotations=tuple(join_equal(found)))
        shares = {code: round(value / total, DIGITS) for code, value in sorted(weights.items())}
        label = max(sorted(shares), key=shares.__getitem__)
        summary = Summary(label=label, text=label, confidence=shares[label], data={"probabilities": shares})
        return Findings(annotations=tuple(join_equal(found)), summary=summary)


def _smooth(parts: Sequence[Part], place: int) -> dict[str, float]:
    """Mix a chunk's probabilities with its neighbours', each weighted by how much speech it holds."""
    mixed: dict[str, float] = {}
    weight = 0.0
    for distance in (-1, 0, 1):
        if not 0 <= place + distance < len(parts):
            continue
        part = parts[place + distance]
        share = (NEIGHBOUR_WEIGHT if distance else OWN_WEIGHT) * max(part.speech_samples, 1)
        assert part.parsed is not None  # the caller leaves the others out
        probabilities: Mapping[str, float] = part.parsed["probabilities"]
        for code, value in probabilities.items():
            mixed[code] = mixed.get(code, 0.0) + share * value
        weight += share
    return {code: round(value / weight, DIGITS) for code, value in mixed.items()}


def _annotation(part: Part, label: str, smooth: Mapping[str, float]) -> Annotation:
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
        data={"probability": smooth[label], "avg_logprob": None},
        flags=tuple(map(str, flags)),
    )
