"""Name the emotion in a voice."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.plain_answers import annotate, parse_plain
from pipeline.tasks.task import Language, Parsed, Task, TaskOptions
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt, Tag, language_tag

MAX_EMOTION_TOKENS = 8  # the official evaluation stops at 4: enough for its seven words, not for a rarer one
MAX_LABEL_CHARACTERS = 64
AROUND_A_LABEL = " \t\n\"'.,;:!?-。，"


class EmotionOptions(TaskOptions):
    """What to ask about emotion."""

    language: Language = Field(
        "en", description="The language that is spoken; the label is English in any case."
    )


class Emotion(Task[EmotionOptions]):
    """A word about each chunk with speech. Parsed: ``label``, ``text``, ``avg_logprob``, ``flags``."""

    name = "emotion"
    title = "Emotion"
    description = (
        "How the speaker sounds, in a word such as neutral, happy, sad or angry. The model chooses the word."
    )
    prompt_version = 1
    Options = EmotionOptions

    def prompt(self, options: EmotionOptions) -> Prompt:
        """Return the official SER prompt."""
        return Prompt(
            (
                Tag.START_OF_ANALYSIS,
                language_tag(options.language),
                Tag.KEYWORD,
                Tag.EN,
                Tag.NO_TIMESTAMPS,
                Tag.EMOTION_RECOGNITION,
            )
        )

    def limit(self, options: EmotionOptions, heard_seconds: float) -> int:
        """Return one limit for all: the answer is a word."""
        return MAX_EMOTION_TOKENS

    def applies(self, speech_samples: int, options: EmotionOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def parse(self, answer: Answer, heard_samples: int, options: EmotionOptions) -> Parsed:
        """Return the word as said, and as a label: lower case, without marks around it."""
        parsed = parse_plain(answer)
        label = parsed["text"].lower()[:MAX_LABEL_CHARACTERS].strip(AROUND_A_LABEL)
        return {**parsed, "label": label or None}

    def merge(self, parts: Sequence[Part], options: EmotionOptions) -> Findings:
        """Put each label on its chunk's owned span."""
        emotions = (annotate(self.name, part) for part in parts)
        return Findings(annotations=tuple(emotion for emotion in emotions if emotion is not None))
