"""Name noises that a voice makes without words."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipeline.tasks.findings import Findings, Part
from pipeline.tasks.gates import VOICE_QUESTION, gate, is_open, probability_of_yes
from pipeline.tasks.hearing_language import no_speech_question, probability
from pipeline.tasks.items import annotate, as_label, item, join_equal, parsed_items, read_text, vote
from pipeline.tasks.parsed import Flag
from pipeline.tasks.prompts import transcript_prompt, vocal_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import Task, TaskOptions
from qwen_audio.tags import Prompt

MAX_VOCAL_TOKENS = 8  # the official evaluation stops at 4, which cuts "throat clearing"
NO_WORDS_PROB = 0.5  # of a transcript that is silence or ends before it begins
LABELS = ("laughter", "sigh", "cough", "throat clearing", "sneeze", "sniff")
"""The classes of VocalSound, which the model was trained on."""


class VocalOptions(TaskOptions):
    """When to ask about voice noises."""

    always: bool = Field(
        False, description="Ask about every chunk, also where the model hears no voice, or hears words."
    )


class Vocal(Task[VocalOptions]):
    """A voice noise per chunk. Parsed: ``items`` with ``label``, ``voice_prob``, ``no_words_prob``, ``flags``."""

    name = "vocal"
    title = "Voice noise"
    description = (
        "Laughter, sigh, cough, throat clearing, sneeze or sniff: where the model hears a voice and no words."
    )
    prompt_version = 1
    cost = "two steps, and about 4 tokens a chunk with a voice and no words"
    heard = "chunks with a voice and no words"
    view = "vocals"
    limits = {"answer_tokens": MAX_VOCAL_TOKENS}  # noqa: RUF012  # never changed
    Options = VocalOptions

    def prompt(self, options: VocalOptions) -> Prompt:
        """Return the official VSC prompt."""
        return vocal_prompt()

    def applies(self, speech_samples: int, options: VocalOptions) -> bool:
        """Ask always: a speech map knows no coughs."""
        return True

    def hear(self, chunk: HeardChunk, options: VocalOptions) -> Hearing:
        """Ask what noise it is where there is a voice without words."""
        voice, words = yield [gate(VOICE_QUESTION), no_speech_question(transcript_prompt("en"))]
        no_words = probability(words)
        doubts = {"voice_prob": probability_of_yes(voice), "no_words_prob": no_words}
        is_wordless = no_words is not None and no_words > NO_WORDS_PROB
        if not options.always and not (is_open(voice) and is_wordless):
            return parsed_items([], **doubts)
        (answer,) = yield from ask_patiently([Question(vocal_prompt(), MAX_VOCAL_TOKENS)])
        text, flags = read_text(answer)
        label = as_label(text)
        if label is not None and label not in LABELS:
            label, flags = None, [*flags, Flag.UNKNOWN_LABEL]
        return parsed_items([item((0, chunk.samples), text, label, answer=answer, flags=flags)], **doubts)

    def merge(self, parts: Sequence[Part], options: VocalOptions) -> Findings:
        """Join equal neighbours."""
        found = join_equal(annotate(self.name, parts))
        return Findings(annotations=tuple(found), summary=vote(found))
