"""Name the emotion in a voice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.tasks.findings import Findings, Part, Span
from pipeline.tasks.hearing_language import find_language
from pipeline.tasks.items import annotate, as_label, item, join_equal, parsed_items, read_text, vote
from pipeline.tasks.parsed import Flag, Parsed
from pipeline.tasks.prompts import emotion_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import AnyLanguage, Task, TaskOptions
from pipeline.tasks.windows import speech_windows
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

MAX_EMOTION_TOKENS = 8  # the official evaluation stops at 4: enough for its seven words, not for a rarer one


class EmotionOptions(TaskOptions):
    """What to ask about emotion."""

    language: AnyLanguage = Field(
        "auto",
        description="The language that is spoken, `auto` to ask the model; the label is English in any case.",
    )
    per: Literal["chunk", "utterance"] = Field(
        "chunk",
        description="`chunk`: one word for up to 30 s. `utterance`: every utterance of the speech map is heard once "
        "more by itself, which costs an encode each.",
    )


class Emotion(Task[EmotionOptions]):
    """A word about each chunk with speech, or each utterance. Parsed: ``items`` with ``label``, ``text``; ``flags``."""

    name = "emotion"
    title = "Emotion"
    description = (
        "How the speaker sounds, in a word such as neutral, happy, sad or angry. The model chooses the word."
    )
    prompt_version = 2
    cost = "about 4 tokens a chunk, or an utterance"
    heard = "chunks with speech, or each utterance"
    view = "emotions"
    limits = {"answer_tokens": MAX_EMOTION_TOKENS}  # noqa: RUF012  # never changed
    example = {"per": "chunk"}  # noqa: RUF012  # never changed
    Options = EmotionOptions

    def prompt(self, options: EmotionOptions) -> Prompt:
        """Return the official SER prompt; ``auto`` must have been found by now, here it stands for English."""
        return emotion_prompt("en" if options.language == "auto" else options.language)

    def applies(self, speech_samples: int, options: EmotionOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def hear(self, chunk: HeardChunk, options: EmotionOptions) -> Hearing:
        """Find the language, then ask about the chunk or each of its utterances."""
        language = yield from find_language(options.language)
        prompt = emotion_prompt(language.code)
        windows = [(0, chunk.samples)] if options.per == "chunk" else speech_windows(chunk)
        answers = yield from ask_patiently(
            [Question(prompt, MAX_EMOTION_TOKENS, chunk.window(window)) for window in windows]
        )
        items = [_item(window, answer) for window, answer in zip(windows, answers, strict=True)]
        return parsed_items(items, [] if language.is_known else [Flag.UNKNOWN_LANGUAGE])

    def parse(self, answer: Answer, heard_samples: int, options: EmotionOptions) -> Parsed:
        """Return what one answer about a whole clip says; for evaluation."""
        return parsed_items([_item((0, heard_samples), answer)])

    def merge(self, parts: Sequence[Part], options: EmotionOptions) -> Findings:
        """Put each label in its place; chunks that meet and agree are joined, utterances stay apart."""
        found = annotate(self.name, parts, {"per": options.per})
        if options.per == "chunk":
            found = join_equal(found)
        return Findings(annotations=tuple(found), summary=vote(found))


def _item(window: Span, answer: Answer) -> Parsed:
    text, flags = read_text(answer)
    return item(window, text, as_label(text), answer=answer, flags=flags)
