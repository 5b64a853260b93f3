"""Caption what can be heard: sounds, music, surroundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.items import annotate, item, join_equal, parsed_items, read_text
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.task import PlainTask, TaskOptions
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


class Caption(PlainTask[CaptionOptions]):
    """A sentence about each chunk. Parsed: ``items`` with ``text``, ``flags``."""

    name = "caption"
    title = "Caption"
    description = (
        "A sentence in English about what can be heard, every half minute at most, also where nobody speaks."
    )
    prompt_version = 2
    cost = "about 20 tokens a chunk"
    view = "captions"
    limits = {"answer_tokens": MAX_CAPTION_TOKENS}  # noqa: RUF012  # never changed
    example = {"style": "clotho"}  # noqa: RUF012  # never changed
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
        text, flags = read_text(answer)
        return parsed_items([item((0, heard_samples), text, answer=answer, flags=flags)])

    def merge(self, parts: Sequence[Part], options: CaptionOptions) -> Findings:
        """Put each caption on its chunk's owned span, join equal neighbours; the style is in ``data``."""
        found = annotate(self.name, parts, {"style": options.style})
        return Findings(annotations=tuple(join_equal(found)))
