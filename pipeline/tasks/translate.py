"""Translate speech, utterance by utterance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Findings, Part, Summary
from pipeline.tasks.hearing_language import find_language
from pipeline.tasks.items import annotate, item, parsed_items, read_text
from pipeline.tasks.parsed import Flag
from pipeline.tasks.prompts import translation_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import AnyLanguage, Language, Task, TaskOptions, is_asked
from pipeline.tasks.windows import speech_windows
from qwen_audio.tags import Prompt

TOKENS_PER_SECOND = 8
MIN_LIMIT = 32


class TranslateOptions(TaskOptions):
    """From which language into which."""

    target: Language = Field("en", description="The language to translate into.")
    language: AnyLanguage = Field("auto", description="The language that is spoken; `auto` asks the model.")

    @field_validator("language")
    @classmethod
    def _is_not_the_target(cls, value: str, info: ValidationInfo) -> str:
        # It would find nothing, and that would look like silence; what was stored before this check is read.
        if is_asked(info) and value == info.data.get("target"):
            raise PydanticCustomError(
                "same_language",
                "there is nothing to translate from {language} into {language}: choose another language or target",
                {"language": value},
            )
        return value


class Translate(Task[TranslateOptions]):
    """Text in another language. Parsed: ``language``, ``items`` with ``text`` per utterance, ``flags``."""

    name = "translate"
    title = "Translation"
    description = (
        "What is said, in another language: every utterance of the speech map is heard once more by itself. Nothing "
        "where the target language is spoken already. Published scores exist for English with German and Chinese, and "
        "from Spanish, French and Italian into English."
    )
    prompt_version = 1
    cost = "an encode and about 8 tokens a second for every utterance"
    heard = "each utterance"
    view = "translations"
    limits = {"tokens_per_second": TOKENS_PER_SECOND}  # noqa: RUF012  # never changed
    example = {"target": "en"}  # noqa: RUF012  # never changed
    Options = TranslateOptions

    def prompt(self, options: TranslateOptions) -> Prompt:
        """Return the official S2TT prompt; ``auto`` must have been found by now, here it stands for English."""
        return translation_prompt("en" if options.language == "auto" else options.language, options.target)

    def applies(self, speech_samples: int, options: TranslateOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def hear(self, chunk: HeardChunk, options: TranslateOptions) -> Hearing:
        """Find the language, then translate each utterance; the official S2TT prompt."""
        language = yield from find_language(options.language)
        flags = [] if language.is_known else [Flag.UNKNOWN_LANGUAGE]
        if language.code == options.target:
            return parsed_items([], flags, language=language.code)
        windows = speech_windows(chunk)
        prompt = translation_prompt(language.code, options.target)
        answers = yield from ask_patiently(
            [Question(prompt, _limit(chunk.seconds_of(window)), chunk.window(window)) for window in windows]
        )
        spoken = {"from": language.code}
        items = []
        for window, answer in zip(windows, answers, strict=True):
            text, own = read_text(answer, options.target)
            items.append(item(window, text, options.target, answer=answer, flags=[*flags, *own], data=spoken))
        return parsed_items(items, flags, language=language.code)

    def merge(self, parts: Sequence[Part], options: TranslateOptions) -> Findings:
        """Put each utterance's translation in its place."""
        found = annotate(self.name, parts)
        text = " ".join(one.text for one in found)
        summary = Summary(label=options.target, data={"utterances": len(found), "characters": len(text)})
        return Findings(annotations=tuple(found), summary=summary if found else None)


def _limit(seconds: float) -> int:
    """Return a limit that follows the seconds heard."""
    return max(MIN_LIMIT, math.ceil(TOKENS_PER_SECOND * seconds))
