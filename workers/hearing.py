"""Ask an engine what a pass's tasks want to know about one chunk; free of torch.

The chunk is opened once for all questions about the whole of it. Questions about a window of it open that window for
themselves, a few at a time: a place that is not free is waited for. A conversation opens the chunk as ChatML lays it
out, behind the recordings that it is compared with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.hearing import Hearings
from pipeline.tasks.questions import STOP_TAGS, WHOLE, Opening, Question
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.chatml import clip_parts
from qwen_audio.errors import EngineFull
from qwen_audio.tags import Prompt, Tag, TimeTag

CHECK_SECONDS = 0.5  # between two looks at the lease while the engine works
PLACE_SECONDS = 0.02  # between two tries for a place
MAX_WINDOWS = 4  # of one chunk, open at a time


class PassTooSlow(Exception):
    """The engine did not answer within the pass's time."""

    code = "pass_deadline"
    retryable = True


class Prefix(Protocol):
    """One clip's audio, encoded once; its branches share it."""

    def branch(
        self,
        prompt: Prompt,
        limit: int,
        stop: Sequence[Tag] = (),
        deadline: float | None = None,
        score: Sequence[Tag | TimeTag | str] | None = None,
    ) -> Future[Answer]:
        """Ask; ``deadline`` is on the clock of ``time.monotonic``."""

    def close(self) -> None:
        """Cancel what is still open and free the place."""


class Engine(Protocol):
    """A loaded model."""

    @property
    def revision(self) -> str:
        """A hash that names the weights."""

    @property
    def clip_samples(self) -> int | None:
        """The longest clip that the model follows word by word, None where that is any it can hear."""

    def open(self, samples: NDArray[np.int16]) -> Prefix:
        """Take one clip, shape (samples,), 16 kHz; raises ``EngineFull`` where no place is free."""

    def open_parts(self, parts: Sequence[Prompt | NDArray[np.int16]]) -> Prefix:
        """Take clips and text in order; raises as ``open``."""


@dataclass
class ChunkTalk:
    """One chunk's conversation with an engine; ``check`` is called now and then and raises when the work is moot.

    ``references`` are the samples of other recordings by their ids, for questions that compare.
    """

    engine: Engine
    samples: NDArray[np.int16]
    deadline: float
    check: Callable[[], None]
    references: Mapping[str, NDArray[np.int16]] = field(default_factory=dict)
    _prefixes: dict[Opening, Prefix] = field(default_factory=dict)
    _pending: dict[Future[Answer], Question] = field(default_factory=dict)
    _waiting: deque[Question] = field(default_factory=deque)

    def run(self, hearings: Hearings) -> None:
        """Ask and answer until every hearing has its parsed data; raises ``PassTooSlow``, and what a branch raises."""
        try:
            while not hearings.is_over:
                self._waiting.extend(hearings.new_questions())
                self._ask()
                timeout = PLACE_SECONDS if self._waiting else CHECK_SECONDS
                done = wait(self._pending, timeout, FIRST_COMPLETED).done if self._pending else ()
                if not self._pending:
                    time.sleep(PLACE_SECONDS)
                self.check()
                for future in done:
                    question = self._pending.pop(future)
                    hearings.give(question, _in_time(future.result()))
                self._close_unused()
        finally:
            for prefix in self._prefixes.values():
                prefix.close()

    def _ask(self) -> None:
        """Hand the engine every question whose clip is open or can be opened now."""
        if time.monotonic() >= self.deadline:
            raise PassTooSlow("the engine did not answer within the pass's time")
        for _ in range(len(self._waiting)):
            question = self._waiting.popleft()
            prefix = self._prefix(question.opening)
            if prefix is None:
                self._waiting.append(question)
                continue
            future = prefix.branch(
                question.prompt,
                question.limit,
                stop=STOP_TAGS,
                deadline=self.deadline,
                score=question.candidates or None,
            )
            self._pending[future] = question

    def _prefix(self, opening: Opening) -> Prefix | None:
        """Return what is open for a question, opened now if it can be; None where no place is free."""
        if opening not in self._prefixes:
            if opening != WHOLE and sum(one != WHOLE for one in self._prefixes) >= MAX_WINDOWS:
                return None
            try:
                self._prefixes[opening] = self._open(opening)
            except EngineFull:
                return None
        return self._prefixes[opening]

    def _open(self, opening: Opening) -> Prefix:
        start, end = opening.window or (0, len(self.samples))
        clip = self.samples[start:end]
        if not opening.is_chat:
            return self.engine.open(clip)
        return self.engine.open_parts(
            clip_parts([*(self.references[one] for one in opening.references), clip])
        )

    def _close_unused(self) -> None:
        """Give windows back that nobody asks about; the whole chunk stays open until the end."""
        used = {question.opening for question in (*self._pending.values(), *self._waiting)}
        for opening in [
            one for one in self._prefixes if one != WHOLE and not one.is_chat and one not in used
        ]:
            self._prefixes.pop(opening).close()


def _in_time(answer: Answer) -> Answer:
    if answer.finish_reason in (FinishReason.DEADLINE, FinishReason.CANCELLED):
        raise PassTooSlow("an answer was not there within the pass's time")
    return answer
