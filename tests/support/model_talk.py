"""Draw whatever a model may say: text, control tokens and their look-alikes, any ending, any score."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from pipeline.tasks.questions import HeardChunk, Question
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.tags import Tag

TAG_TEXTS = [str(tag) for tag in Tag] + [
    "[[[AUDIO:modality]]]",
    "<|0.00|>",
    "<|30.00|>",
    "<|30.01|>",
    "<|7|>",
    "<|midi_pitch_60|>",
    "<|midi_pitch_128|>",
    "<|midi_velocity_999|>",
]
PLACE = '"a\x00" starts at <|0.50|> seconds and ends at <|1.00|>'
SNIPPETS = [
    *(" and", "面", "，", ",", "|>", "<|", "<|0.5", "\x00", "\ud800", " ", "guitar", "laughter"),
    "no " * 40,
    PLACE,
]

texts = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=())),
    st.lists(
        st.one_of(
            st.sampled_from(TAG_TEXTS),
            st.integers(0, 3_100).map(lambda value: f"<|{value / 100:.2f}|>"),
            st.sampled_from(SNIPPETS),
            st.text(max_size=4),
        ),
        max_size=40,
    ).map("".join),
)
numbers = st.floats(width=32)  # as models compute them: also NaN, infinite, and no logarithm of a probability
answers = st.builds(
    lambda text, finish, logprobs: Answer(
        text, (0,) * len(logprobs), logprobs, finish, starts=tuple(range(len(logprobs)))
    ),
    texts,
    st.sampled_from(FinishReason),
    st.lists(numbers, max_size=4).map(tuple),
)
scores = st.one_of(st.floats(-20.0, 0.0), numbers)


@st.composite
def models(draw: st.DrawFn) -> Callable[[Question], Answer]:
    """A model that gives equal questions equal answers, in whatever order it is asked."""
    said = draw(st.lists(answers, min_size=1, max_size=3))
    known = draw(st.lists(scores, min_size=1, max_size=12))
    salt = draw(st.integers(0, 9))

    def model(question: Question) -> Answer:
        chance = random.Random(f"{salt} {question}")
        if question.candidates:
            sure = {str(one): chance.choice(known) for one in question.candidates}
            return Answer("", (), (), FinishReason.SCORED, sure)
        return chance.choice(said)

    return model


REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("transcribe", {}),
    ("transcribe", {"language": "en", "timestamps": "word"}),
    ("transcribe", {"language": "zh", "timestamps": "word"}),
    ("transcribe", {"language": "zh", "timestamps": "none"}),
    ("transcribe", {"language": "de", "timestamps": "segment", "itn": True}),
    ("translate", {}),
    ("translate", {"target": "zh", "language": "en"}),
    ("language", {}),
    ("caption", {}),
    ("scene", {}),
    ("emotion", {}),
    ("emotion", {"per": "utterance"}),
    ("vocal", {}),
    ("vocal", {"always": True}),
    ("music", {}),
    ("music", {"always": True, "description": True}),
    ("ask", {"question": "is it loud?"}),
    ("ask", {"question": "is it loud?", "choices": ["yes", "no"]}),
    ("ask", {"question": "what is it?", "form": "free", "follow_ups": ["why?"]}),
    ("locate", {"phrase": "and"}),
    ("locate", {"phrase": "and", "by": "chat"}),
    ("locate", {"phrase": "person name", "by": "chat_kind"}),
    ("locate", {"phrase": "面", "language": "zh"}),
    ("events", {}),
    ("speaker", {}),
    ("keywords", {}),
    ("entities", {"language": "zh"}),
]
"""Every task, with what changes how it listens."""


@st.composite
def chunks(draw: st.DrawFn, samples: int | None = None) -> HeardChunk:
    """A chunk of at least 0.1 s that a model can hear, with speech here and there, or where nobody looked."""
    length = draw(st.integers(1_600, 480_000)) if samples is None else samples
    edges = sorted(draw(st.sets(st.integers(0, length), max_size=8)))
    speech = tuple(zip(edges[::2], edges[1::2], strict=False))
    return HeardChunk(length, draw(st.sampled_from([None, speech])))
