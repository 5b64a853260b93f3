"""Answer a question about the sound itself: in a word or two, or in a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Self
from uuid import UUID

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.chat import MAX_ANSWER_TOKENS as MAX_FREE_ANSWER_TOKENS
from pipeline.tasks.chat import converse
from pipeline.tasks.findings import Findings, Part, Span
from pipeline.tasks.hearing_language import shares_of
from pipeline.tasks.items import annotate, as_label, item, join_equal, parsed_items, read_text, vote
from pipeline.tasks.parsed import DIGITS, Flag, Parsed
from pipeline.tasks.prompts import question_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import ModelKind, Task, TaskOptions
from pipeline.tasks.text import visible
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt

MAX_QUESTION_CHARACTERS = 2_000
MAX_CHOICES = 20
MAX_CHOICE_CHARACTERS = 100
MAX_FOLLOW_UPS = 8
MAX_REFERENCES = 3  # four clips and their answers stay far below the longest context
MAX_ANSWER_TOKENS = 32  # the official evaluation stops at 4: its answers are a word


class AskOptions(TaskOptions):
    """What to ask."""

    question: str = Field(
        min_length=1,
        max_length=MAX_QUESTION_CHARACTERS,
        description="A question in English about what can be heard; in closed form one that a word or two can answer.",
        examples=["is somebody speaking?"],
    )
    choices: list[str] = Field(
        default_factory=list,
        max_length=MAX_CHOICES,
        description="The answers to choose from. With them nothing is made up: each gets its probability, and the "
        "likeliest is the label.",
        examples=[["yes", "no"]],
    )

    form: Literal["closed", "free"] = Field(
        "closed",
        description="`closed`: the base model answers in a word or two. `free`: the Chat model answers in sentences; "
        "it can reason, suggest, compare and write. Needs a Chat checkpoint.",
    )
    follow_ups: list[str] = Field(
        default_factory=list,
        max_length=MAX_FOLLOW_UPS,
        description="Further questions in free form, each asked in view of what was said before.",
        examples=[["and what may happen next?"]],
    )
    references: list[str] = Field(
        default_factory=list,
        max_length=MAX_REFERENCES,
        description="Ids of recordings to compare with, in free form: the first half minute of each is heard as "
        "Audio 1, Audio 2 ..., and the chunk as the last.",
    )

    @model_validator(mode="after")
    def _conversations_are_free(self) -> Self:
        if self.form == "closed" and (self.follow_ups or self.references):
            raise PydanticCustomError(
                "closed_form", "follow_ups and references belong to a conversation: set form to 'free'"
            )
        if self.form == "free" and self.choices:
            raise PydanticCustomError("free_form", "choices are weighed in closed form: leave form out")
        return self

    @field_validator("follow_ups")
    @classmethod
    def _are_questions(cls, value: list[str]) -> list[str]:
        return [_clean(text, "follow-up", MAX_QUESTION_CHARACTERS) for text in value]

    @field_validator("references")
    @classmethod
    def _are_ids(cls, value: list[str]) -> list[str]:
        try:
            return [str(UUID(one)) for one in value]
        except ValueError:
            raise PydanticCustomError(
                "recording_ids", "give the ids of recordings, which are UUIDs"
            ) from None

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
    """An answer per chunk, or one for each turn of a conversation.

    Parsed: ``items`` with ``label``, ``text``, ``data`` (``choices``; or ``turn``, ``question``); ``flags``.
    """

    name = "ask"
    title = "Answer"
    description = (
        "An answer to a question about the sound itself, for every chunk: in a word or two, as the base model was "
        "trained, where `choices` get a probability each; or in `free` form by the Chat model, over several turns and "
        "compared with other recordings."
    )
    prompt_version = 1
    cost = "about 4 tokens a chunk, with choices one step for each first word; up to 256 a turn in free form"
    view = "answers"
    limits: ClassVar[Mapping[str, int]] = {
        "question_characters": MAX_QUESTION_CHARACTERS,
        "choices": MAX_CHOICES,
        "choice_characters": MAX_CHOICE_CHARACTERS,
        "follow_ups": MAX_FOLLOW_UPS,
        "references": MAX_REFERENCES,
        "answer_tokens": MAX_ANSWER_TOKENS,
        "free_answer_tokens": MAX_FREE_ANSWER_TOKENS,
    }
    example = {"question": "is somebody speaking?", "choices": ["yes", "no"]}  # noqa: RUF012  # never changed
    Options = AskOptions

    def prompt(self, options: AskOptions) -> Prompt:
        """Return the official AQA prompt; the question is text and never becomes a control token."""
        return question_prompt(options.question)

    def model_for(self, options: AskOptions) -> ModelKind:
        """Conversations are the Chat model's."""
        return ModelKind.CHAT if options.form == "free" else ModelKind.BASE

    def references(self, options: AskOptions) -> tuple[str, ...]:
        """Return the recordings to compare with."""
        return tuple(options.references)

    def applies(self, speech_samples: int, options: AskOptions) -> bool:
        """Ask always: it is about the sound."""
        return True

    def hear(self, chunk: HeardChunk, options: AskOptions) -> Hearing:
        """Decode an answer, weigh the choices, or hold the conversation."""
        window = (0, chunk.samples)
        if options.form == "free":
            asked = [options.question, *options.follow_ups]
            said = yield from converse(asked, options.references)
            return parsed_items(
                [
                    item(window, text, answer=answer, flags=flags, data={"turn": turn, "question": question})
                    for turn, (question, (text, answer, flags)) in enumerate(zip(asked, said, strict=True))
                ]
            )
        if options.choices:
            (answer,) = yield [Question(self.prompt(options), candidates=tuple(options.choices))]
            return parsed_items([_chosen(window, options.choices, answer)])
        (answer,) = yield from ask_patiently([Question(self.prompt(options), MAX_ANSWER_TOKENS)])
        text, flags = read_text(answer)
        return parsed_items([item(window, text, as_label(text), answer=answer, flags=flags)])

    def merge(self, parts: Sequence[Part], options: AskOptions) -> Findings:
        """Join equal neighbours, each turn apart; the recording's answer is the one that holds longest."""
        said = annotate(self.name, parts, {"question": options.question})
        turns = {one.data.get("turn", 0) for one in said}
        found = [
            one
            for turn in sorted(turns)
            for one in join_equal([one for one in said if one.data.get("turn", 0) == turn])
        ]
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
