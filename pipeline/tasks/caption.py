"""Caption what can be heard: sounds, music, surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.plain_answers import annotate, parse_plain
from pipeline.tasks.task import Parsed, Task, TaskOptions
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt, Tag

STYLE_TAGS = {
    "clotho": Tag.CAPTION_CLOTHO,
    "audiocaps": Tag.CAPTION_AUDIOCAPS,
    "plain": Tag.CAPTION_PLAIN,
}
MAX_CAPTION_TOKENS = 64  # the official evaluation stops at 30, which cuts the longer Clotho sentences


class CaptionOptions(TaskOptions):
    """What to ask of a caption."""

    style: Literal["clotho", "audiocaps", "plain"] = Field(
        "clotho",
        description="The manner of the data that the model learned captions from. `clotho`: a full sentence, the "
        "style that the published scores were measured in. `audiocaps`: short. `plain`: of mixed origin.",
    )


class Caption(Task[CaptionOptions]):
    """A sentence about each chunk. Parsed: ``text``, ``avg_logprob``, ``flags``."""

    name = "caption"
    title = "Caption"
    description = (
        "A sentence in English about what can be heard, every half minute at most, also where nobody speaks."
    )
    prompt_version = 1
    Options = CaptionOptions

    def prompt(self, options: CaptionOptions) -> Prompt:
        """Return the official AAC prompt with the tag of the style."""
        return Prompt(
            (
                Tag.START_OF_ANALYSIS,
                Tag.UNKNOWN,
                Tag.CAPTION,
                Tag.EN,
                Tag.NO_TIMESTAMPS,
                STYLE_TAGS[options.style],
            )
        )

    def limit(self, options: CaptionOptions, heard_seconds: float) -> int:
        """Return one limit for all: a caption does not grow with the clip."""
        return MAX_CAPTION_TOKENS

    def applies(self, speech_samples: int, options: CaptionOptions) -> bool:
        """Ask always: silence and noise have captions too."""
        return True

    def parse(self, answer: Answer, heard_samples: int, options: CaptionOptions) -> Parsed:
        """Return the sentence."""
        return parse_plain(answer)

    def merge(self, parts: Sequence[Part], options: CaptionOptions) -> Findings:
        """Put each caption on its chunk's owned span; the style is in ``data``."""
        captions = (annotate(self.name, part, data={"style": options.style}) for part in parts)
        return Findings(annotations=tuple(caption for caption in captions if caption is not None))
