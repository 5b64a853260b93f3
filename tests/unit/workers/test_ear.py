"""A worker whose engine is of no use any more ends, so that another can start with fresh memory."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from db.understanding import AskedRequest, UnderstandWork
from qwen_audio.errors import EngineClosed, EngineOutOfMemory
from workers import understand
from workers.understand import Ear

WORK = UnderstandWork("file:///t.pcm", 1, 0, 0, 16_000, 0, 16_000, (), (AskedRequest("r", "caption", {}, 2),))


@pytest.mark.parametrize(
    ("error", "ends"),
    [(EngineOutOfMemory("full"), 1), (EngineClosed("closed"), 1), (ZeroDivisionError("a bug"), 0)],
)
def test_an_engine_that_is_gone_ends_its_process_and_the_pass_fails(
    monkeypatch: pytest.MonkeyPatch, error: Exception, ends: int
) -> None:
    def open_clip(samples: np.ndarray) -> Any:
        raise error

    ended: list[int] = []
    engine: Any = SimpleNamespace(revision="r1", clip_samples=None, open=open_clip)
    context: Any = SimpleNamespace(database=SimpleNamespace(read=nullcontext))
    lease: Any = SimpleNamespace(claim=SimpleNamespace(tenant="default"), check=lambda: None)
    monkeypatch.setattr(understand, "load_understand", lambda session, claim: WORK)
    monkeypatch.setattr(understand, "read_samples", lambda context, work: np.zeros(16_000, np.int16))
    with pytest.raises(type(error)):
        Ear(engine, "mini", end=lambda: ended.append(1)).understand(context, lease)
    assert len(ended) == ends
