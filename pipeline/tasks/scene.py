"""Name the acoustic scene."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.items import annotate, as_label, item, join_equal, parsed_items, read_text, vote
from pipeline.tasks.parsed import Parsed
from pipeline.tasks.prompts import scene_prompt
from pipeline.tasks.task import PlainTask, TaskOptions
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

MAX_SCENE_TOKENS = 16  # the official evaluation stops at 10


class SceneOptions(TaskOptions):
    """There is nothing to choose."""


class Scene(PlainTask[SceneOptions]):
    """Where each chunk was recorded. Parsed: ``items`` with ``label`` and ``text``, ``flags``."""

    name = "scene"
    title = "Scene"
    description = (
        "Where this is, such as a street, a park or an office, joined over time; the model chooses the words."
    )
    prompt_version = 1
    cost = "about 6 tokens a chunk"
    view = "scenes"
    limits = {"answer_tokens": MAX_SCENE_TOKENS}  # noqa: RUF012  # never changed
    Options = SceneOptions

    def prompt(self, options: SceneOptions) -> Prompt:
        """Return the official ASC prompt."""
        return scene_prompt()

    def limit(self, options: SceneOptions, heard_seconds: float) -> int:
        """Return one limit for all: the answer is a word or two."""
        return MAX_SCENE_TOKENS

    def applies(self, speech_samples: int, options: SceneOptions) -> bool:
        """Ask always."""
        return True

    def parse(self, answer: Answer, heard_samples: int, options: SceneOptions) -> Parsed:
        """Return the words as said, and as a label."""
        text, flags = read_text(answer)
        return parsed_items([item((0, heard_samples), text, as_label(text), answer=answer, flags=flags)])

    def merge(self, parts: Sequence[Part], options: SceneOptions) -> Findings:
        """Join equal neighbours; the recording's scene is the one that lasted longest."""
        found = join_equal(annotate(self.name, parts))
        return Findings(annotations=tuple(found), summary=vote(found))
