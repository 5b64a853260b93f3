"""Talk with the Chat checkpoint about a chunk: one question after the other, each seeing what was said before."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

from pipeline.tasks.items import read_text
from pipeline.tasks.parsed import Flag
from pipeline.tasks.questions import Question, ask_patiently
from qwen_audio.answers import Answer
from qwen_audio.chatml import Turn, question_prompt
from qwen_audio.tags import TIME_TAG

MAX_ANSWER_TOKENS = 256


def converse(
    questions: Sequence[str], references: Sequence[str] = ()
) -> Generator[Sequence[Question], Sequence[Answer], list[tuple[str, Answer, list[Flag]]]]:
    """Ask questions in turn and return each answer's text, the answer and its flags.

    ``references`` are the ids of recordings that are heard before the chunk, as Audio 1, Audio 2 ...; the chunk is the
    last. A question's text can never become a control token.
    """
    history: list[Turn] = []
    said = []
    for text in questions:
        question = Question(
            question_prompt(text, history), MAX_ANSWER_TOKENS, is_chat=True, references=tuple(references)
        )
        (answer,) = yield from ask_patiently([question])
        # Chat spells times as tags within its sentences: they are part of what it says, in seconds of the chunk.
        heard, flags = read_text(replace(answer, text=TIME_TAG.sub(r"\1", answer.text)))
        said.append((heard, answer, flags))
        history.append(Turn(text, heard))
    return said
