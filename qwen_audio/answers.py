"""Say what the engine hands back for one branch; free of torch, so that task modules can parse it anywhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class FinishReason(StrEnum):
    """Why a branch ended."""

    STOP = "stop"  # the model ended its answer
    LENGTH = "length"  # the token limit cut the answer
    LOOP = "loop"  # the answer repeated itself and was cut
    CANCELLED = "cancelled"
    DEADLINE = "deadline"
    SCORED = "scored"  # nothing was decoded: ``scores`` holds the answer


@dataclass(frozen=True)
class Numbers:
    """What one branch cost, in seconds of wall time and tokens.

    ``encode_seconds`` and ``prefill_seconds`` are those of the clips and the prefix, which all branches of a prefix
    share; ``decode_seconds`` runs from the branch's start to its end, company included. ``batch_share`` is the mean
    share that the branch had of the batches it was in, 0 when it was in none.
    """

    audio_tokens: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    encode_seconds: float = 0.0
    decode_seconds: float = 0.0
    prefill_seconds: float = 0.0
    batch_share: float = 0.0


@dataclass(frozen=True)
class Answer:
    """One branch's result.

    ``text`` keeps control tokens (``<|0.54|>hello<|0.86|>``) and leaves out the token that ended it; ``ids`` and
    ``logprobs`` run in step and include that token. ``scores`` maps each asked text to its log-probability.
    ``starts`` has, for each id, the index in ``text`` of the character that its first byte belongs to; an id that
    was left out of the text has ``len(text)``.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason
    scores: dict[str, float] = field(default_factory=dict)
    numbers: Numbers = Numbers()
    starts: tuple[int, ...] = ()

    @property
    def avg_logprob(self) -> float | None:
        """The mean log-probability of a generated token, None when nothing was generated."""
        return sum(self.logprobs) / len(self.logprobs) if self.logprobs else None
