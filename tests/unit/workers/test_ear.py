"""A worker whose engine is of no use any more ends, so that another can start with fresh memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from db.understanding import AskedRequest, UnderstandWork
from pipeline.tasks.questions import Question
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.errors import EngineClosed, EngineOutOfMemory
from qwen_audio.tags import Prompt, Tag
from workers import understand
from workers.understand import Ear

WORK = UnderstandWork("file:///t.pcm", 1, 0, 0, 16_000, 0, 16_000, (), (AskedRequest("r", "caption", {}, 2),))


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (EngineOutOfMemory("full"), ["end"]),
        (EngineClosed("closed"), ["crash"]),
        (RuntimeError("CUDA error: device-side assert triggered"), ["crash"]),
        (RuntimeError("CUDA error: out of memory"), []),
        (ZeroDivisionError("a bug"), []),
    ],
)
def test_an_engine_that_is_gone_ends_its_process_and_the_pass_fails(
    monkeypatch: pytest.MonkeyPatch, error: Exception, wanted: list[str]
) -> None:
    def open_clip(samples: np.ndarray) -> Any:
        raise error

    ended: list[str] = []
    engine: Any = SimpleNamespace(revision="r1", clip_samples=None, open=open_clip)
    context: Any = SimpleNamespace(understanding=SimpleNamespace(load=lambda claim: WORK))
    lease: Any = SimpleNamespace(claim=SimpleNamespace(tenant="default"), check=lambda: None)
    monkeypatch.setattr(understand, "read_samples", lambda context, work: np.zeros(16_000, np.int16))
    ear = Ear(engine, "mini", end=lambda: ended.append("end"), crash=lambda: ended.append("crash"))
    with pytest.raises(type(error)):
        ear.understand(context, lease)
    assert ended == wanted


@pytest.mark.parametrize(
    ("flags", "endings", "finish"),
    [
        ([], [FinishReason.LENGTH, FinishReason.STOP], "stop"),  # the second try mended it
        (["cut_by_limit"], [FinishReason.LENGTH, FinishReason.LENGTH], "length"),
        (["loop"], [FinishReason.LOOP], "loop"),
        ([], [FinishReason.SCORED], "scored"),
    ],
)
def test_a_result_ends_as_what_was_kept_of_it_ended(
    flags: list[str], endings: list[FinishReason], finish: str
) -> None:
    engine: Any = SimpleNamespace(revision="r1")
    question = Question(Prompt((Tag.START_OF_TRANSCRIPT,)), 8)
    said = [(question, Answer("a", (1,), (-0.1,), ending)) for ending in endings]
    result = Ear(engine, "mini")._result(WORK.requests[0], {"flags": flags}, said)
    assert result.finish_reason == finish
