"""Keep one branch: what was asked about a prefix, how far the answer is, and the future that it resolves."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from qwen_audio.answers import Answer, FinishReason, Numbers
from qwen_audio.errors import InvalidPrompt
from qwen_audio.repetition import ends_in_a_loop
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tokenizer import QwenAudioTokenizer

if TYPE_CHECKING:
    from qwen_audio.prefix import Prefix


@dataclass(frozen=True)
class Ask:
    """What a branch is asked, in ids: either ``candidates`` to score, by text, or an answer to decode."""

    prompt: tuple[int, ...]
    limit: int
    stop: frozenset[int]
    candidates: Mapping[str, tuple[int, ...]] | None = None

    @property
    def positions(self) -> int:
        """How many positions the prompt and the longest answer take."""
        new = self.limit if self.candidates is None else max(map(len, self.candidates.values()))
        return len(self.prompt) + new

    @property
    def cells(self) -> int:
        """How many cells of a cache it takes at most: the last id of an answer or a candidate is never fed."""
        return len(self.prompt) + (self.limit - 1 if self.candidates is None else len(self.heads))

    @cached_property
    def heads(self) -> list[tuple[int, ...]]:
        """What candidates begin with, without their last ids: each start once, shorter ones first."""
        ends = (self.candidates or {}).values()
        return sorted(
            {ids[:size] for ids in ends for size in range(1, len(ids))}, key=lambda ids: (len(ids), ids)
        )


def make_ask(
    tokenizer: QwenAudioTokenizer,
    prompt: Prompt,
    limit: int,
    stop: Sequence[Tag],
    score: Sequence[Tag | TimeTag | str] | None,
) -> Ask:
    """Turn a request into ids; raises ``InvalidPrompt`` when it asks for nothing."""
    if limit < 1:
        raise InvalidPrompt(f"limit must be at least 1 token, not {limit}")
    ids = tuple(tokenizer.encode_prompt(prompt))
    if not ids:
        raise InvalidPrompt("the prompt is empty")
    candidates = None
    if score is not None:
        candidates = {str(part): tuple(tokenizer.encode_prompt(Prompt((part,)))) for part in score}
        if not candidates or () in candidates.values():
            raise InvalidPrompt("nothing to score: give at least one text, and no empty one")
    ends = frozenset(tokenizer.id_of(tag) for tag in (Tag.END_OF_TEXT, *stop))
    return Ask(ids, limit, ends, candidates)


@dataclass(eq=False)
class Branch:
    """One request to one prefix; only the engine's thread lets it grow.

    The future stays pending while the branch is decoded, so that ``future.cancel()`` works until the answer is there.
    """

    prefix: Prefix
    ask: Ask
    deadline: float | None = None  # on time.monotonic's clock, seconds
    future: Future[Answer] = field(default_factory=Future)
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    started: float | None = None  # time.monotonic when its batch began
    shares: list[float] = field(default_factory=list)  # its part of each batch it was in
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_resolved: bool = False

    def is_gone(self) -> bool:
        """Whether nobody waits for it any more; here those who wait for a cancelled future hear of it."""
        if not self.future.done():
            return False
        if self.future.cancelled():
            self._claim()
        return True

    def start(self) -> None:
        """Begin, or begin anew after its batch has failed."""
        self.ids.clear()
        self.logprobs.clear()
        self.shares.clear()
        self.started = time.monotonic()

    def interruption(self) -> FinishReason | None:
        """Say why the branch should stop now, whatever the model says."""
        if self.prefix.is_closed:
            return FinishReason.CANCELLED
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return FinishReason.DEADLINE
        return None

    def grow(self, id_: int, logprob: float) -> FinishReason | None:
        """Add a token and say whether it ends the answer."""
        self.ids.append(id_)
        self.logprobs.append(logprob)
        if id_ in self.ask.stop:
            return FinishReason.STOP
        if len(self.ids) >= self.ask.limit:
            return FinishReason.LENGTH
        if ends_in_a_loop(self.ids):
            return FinishReason.LOOP
        return None

    def finish(
        self, reason: FinishReason, tokenizer: QwenAudioTokenizer, scores: dict[str, float] | None = None
    ) -> None:
        """Resolve the future with what there is."""
        kept = len(self.ids) - (reason is FinishReason.STOP)
        text, starts = tokenizer.decode_in_step(self.ids[:kept])
        answer = Answer(
            text=text,
            ids=tuple(self.ids),
            logprobs=tuple(self.logprobs),
            finish_reason=reason,
            scores=scores or {},
            numbers=Numbers(
                audio_tokens=self.prefix.audio_tokens,
                prompt_tokens=len(self.ask.prompt),
                new_tokens=len(self.ids),
                encode_seconds=self.prefix.encode_seconds,
                decode_seconds=0.0 if self.started is None else time.monotonic() - self.started,
                prefill_seconds=self.prefix.prefill_seconds,
                batch_share=sum(self.shares) / len(self.shares) if self.shares else 0.0,
            ),
            starts=(*starts, *[len(text)] * (len(self.ids) - kept)),
        )
        if self._claim():
            self.future.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Resolve the future with an error."""
        if self._claim():
            self.future.set_exception(error)

    def _claim(self) -> bool:
        """Take the right to resolve the future: once, and not when its owner has cancelled it."""
        with self._lock:
            if self._is_resolved:
                return False
            self._is_resolved = True
        return self.future.set_running_or_notify_cancel()
