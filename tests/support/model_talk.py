"""Draw whatever a model may say: text, control tokens and their look-alikes, any ending, any score."""

from __future__ import annotations

import random
from collections.abc import Callable

from hypothesis import strategies as st

from pipeline.tasks.questions import Question
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
SNIPPETS = [
    " and",
    "面",
    "，",
    ",",
    "|>",
    "<|",
    "<|0.5",
    "\x00",
    "\ud800",
    " ",
    "guitar",
    "laughter",
    "no " * 40,
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
answers = st.builds(
    lambda text, finish, logprobs: Answer(
        text, (0,) * len(logprobs), logprobs, finish, starts=tuple(range(len(logprobs)))
    ),
    texts,
    st.sampled_from(FinishReason),
    st.lists(st.floats(), max_size=4).map(tuple),
)
scores = st.one_of(st.floats(-20.0, 0.0), st.floats())


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
