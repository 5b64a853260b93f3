"""Answer a question about the sound itself."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Findings, Part, Span
from pipeline.tasks.hearing_language import DIGITS, shares_of
from pipeline.tasks.items import annotate, as_label, item, join_equal, parsed_items, read_text, vote
from pipeline.tasks.parsed import Flag, Parsed
from pipeline.tasks.prompts import question_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import Task, TaskOptions
from pipeline.tasks.text import visible
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

MAX_QUESTION_CHARACTERS = 2_000
MAX_CHOICES = 20
MAX_CHOICE_CHARACTERS = 100
MAX_ANSWER_TOKENS = 32  # the official evaluation stops at 4: its answers are a word


class AskOptions(TaskOptions):
    """What to ask."""

    question: str = Field(
        min_length=1,
        max_length=MAX_QUESTION_CHARACTERS,
        description="A question in English about what can be heard, one that a word or two can answer.",
        examples=["is somebody speaking?"],
    )
    choices: list[str] = Field(
        default_factory=list,
        max_length=MAX_CHOICES,
        description="The answers to choose from. With them nothing is made up: each gets its probability, and the "
        "likeliest is the label.",
        examples=[["yes", "no"]],
    )

    @field_validator("question")
    @classmethod
    def _is_text(cls, value: str) -> str:
        return _clean(value, "question", MAX_QUESTION_CHARACTERS)

    @field_validator("choices")
    @classmethod
    def _are_texts(cls, value: list[str]) -> list[str]:
        cleaned = [_clean(choice, "choice", MAX_CHOICE_CHARACTERS) for choice in value]
        if len(set(cleaned)) != len(cleaned) or len(cleaned) == 1:
            raise PydanticCustomError("choices", "give at least two choices, none of them twice")
        return cleaned


class Ask(Task[AskOptions]):
    """An answer per chunk. Parsed: ``items`` with ``label``, ``text``, ``data`` (``choices``); ``flags``."""

    name = "ask"
    title = "Answer"
    description = (
        "An answer in a word or two to a question about the sound itself, for every chunk: closed form, as the base "
        "model was trained. With `choices` each of them gets a probability."
    )
    prompt_version = 1
    cost = "about 4 tokens a chunk; with choices one step for each first word"
    example = {"question": "is somebody speaking?", "choices": ["yes", "no"]}  # noqa: RUF012  # never changed
    Options = AskOptions

    def prompt(self, options: AskOptions) -> Prompt:
        """Return the official AQA prompt; the question is text and never becomes a control token."""
        return question_prompt(options.question)

    def applies(self, speech_samples: int, options: AskOptions) -> bool:
        """Ask always: it is about the sound."""
        return True

    def hear(self, chunk: HeardChunk, options: AskOptions) -> Hearing:
        """Decode an answer, or weigh the choices."""
        window = (0, chunk.samples)
        if options.choices:
            (answer,) = yield [Question(self.prompt(options), candidates=tuple(options.choices))]
            return parsed_items([_chosen(window, options.choices, answer)])
        (answer,) = yield from ask_patiently([Question(self.prompt(options), MAX_ANSWER_TOKENS)])
        text, flags = read_text(answer)
        return parsed_items([item(window, text, as_label(text), answer=answer, flags=flags)])

    def merge(self, parts: Sequence[Part], options: AskOptions) -> Findings:
        """Join equal neighbours; the recording's answer is the one that holds longest."""
        found = join_equal(annotate(self.name, parts, {"question": options.question}))
        return Findings(annotations=tuple(found), summary=vote(found))


def _chosen(window: Span, choices: Sequence[str], answer: Answer) -> Parsed:
    shares = shares_of(answer)
    if not shares:
        return item(window, "", answer=answer, flags=[Flag.UNPARSED])
    best = max(choices, key=lambda choice: shares.get(choice, 0.0))
    rounded = {choice: round(shares.get(choice, 0.0), DIGITS) for choice in choices}
    return item(window, best, best, answer=answer, data={"choices": rounded})


def _clean(text: str, what: str, most: int) -> str:
    """Return the visible text; its length is checked behind that, because composing can lengthen a text."""
    kept = visible(text)
    if not kept:
        raise PydanticCustomError("empty_text", "the {what} holds no text", {"what": what})
    if len(kept) > most:
        raise PydanticCustomError(
            "long_text", "a {what} may have {most} characters", {"what": what, "most": most}
        )
    return kept
