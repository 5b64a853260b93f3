"""Say what a worker needs of the engine, so that everything but the GPU worker's entry stays free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt, Tag


class Prefix(Protocol):
    """One chunk's audio, encoded once; its branches share it."""

    def branch(
        self, prompt: Prompt, limit: int, stop: Sequence[Tag] = (), deadline: float | None = None
    ) -> Future[Answer]:
        """Ask; ``deadline`` is on the clock of ``time.monotonic``."""

    def close(self) -> None:
        """Cancel what is still open and free the place."""


class Engine(Protocol):
    """A loaded model."""

    @property
    def revision(self) -> str:
        """A hash that names the weights."""

    def open(self, samples: NDArray[np.int16]) -> Prefix:
        """Take one chunk, shape (samples,), 16 kHz."""
