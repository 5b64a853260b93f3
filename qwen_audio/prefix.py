"""Hold what a prefix is made of, clips and text in order, and take the questions about it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import torch

from qwen_audio.answers import Answer
from qwen_audio.branch import Branch, make_ask
from qwen_audio.errors import InvalidPrompt
from qwen_audio.features import Samples, audio_tokens, log_mel, mel_frames, spectrogram, to_float
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tokenizer import QwenAudioTokenizer

if TYPE_CHECKING:
    from qwen_audio.front import Front

SPAN_ENDS = 2  # the rows of <audio> and </audio>
_AUDIO_TAGS = (Tag.AUDIO_START, Tag.AUDIO_END)


@dataclass(eq=False)
class Clip:
    """One clip of a prefix, as features or as samples; ``span`` is set by the engine's thread when it is encoded."""

    frames: int  # that the clip fills
    features: torch.Tensor | None = None  # (mels, frames)
    samples: torch.Tensor | None = None  # (samples,), for features that are computed where the model is
    span: torch.Tensor | None = None  # (positions, hidden)
    encode_seconds: float = 0.0

    def mel(self, device: torch.device) -> torch.Tensor:
        """Return the features on a device, (mels, frames)."""
        if self.features is not None:
            return self.features.to(device, non_blocking=True)
        assert self.samples is not None, "a clip has features or samples"
        return spectrogram(self.samples.to(device, non_blocking=True))

    @property
    def audio_tokens(self) -> int:
        """What the clip costs, 25 per second."""
        return audio_tokens(self.frames)

    @property
    def positions(self) -> int:
        """How many positions its span takes."""
        return self.audio_tokens + SPAN_ENDS


@dataclass(frozen=True)
class Text:
    """Ids between the clips of a prefix."""

    ids: tuple[int, ...]

    @property
    def positions(self) -> int:
        """How many positions it takes."""
        return len(self.ids)


def make_parts(
    tokenizer: QwenAudioTokenizer, parts: Sequence[Prompt | Samples], *, on_device: bool = False
) -> list[Clip | Text]:
    """Turn prompts and clips into what a prefix holds; ``on_device`` leaves the features to where the model is.

    Raises ``InvalidPrompt`` when there is nothing, or when a prompt spells an audio tag, which every clip brings
    along; else what ``log_mel`` raises.
    """
    made: list[Clip | Text] = []
    for part in parts:
        if not isinstance(part, Prompt):
            made.append(_make_clip(part, on_device))
        elif any(tag in part.parts for tag in _AUDIO_TAGS):
            raise InvalidPrompt("give the clip itself: it brings its audio tags along")
        else:
            made.append(Text(tuple(tokenizer.encode_prompt(part))))
    if not sum(part.positions for part in made):
        raise InvalidPrompt("a prefix needs a clip or text")
    return made


def _make_clip(samples: Samples, on_device: bool) -> Clip:
    frames = mel_frames(len(samples))
    if not on_device:
        return Clip(frames, features=log_mel(samples))
    checked = to_float(samples)
    # Pinned memory is copied to a GPU while it computes.
    return Clip(frames, samples=checked.pin_memory() if torch.cuda.is_available() else checked)


class Prefix:
    """Clips and text inside an engine; made by ``open`` or ``open_parts`` and good until it is closed.

    ``audio_tokens`` is what the clips cost, 25 per second; ``positions`` what the whole prefix takes.
    """

    def __init__(self, engine: Front, parts: Sequence[Clip | Text]) -> None:
        self.parts = tuple(parts)
        self.clips = tuple(part for part in parts if isinstance(part, Clip))
        self.audio_tokens = sum(clip.audio_tokens for clip in self.clips)
        self.positions = sum(part.positions for part in parts)
        self.span: torch.Tensor | None = None  # (positions, hidden), set by the engine's thread
        self.prefill_seconds = 0.0
        self.prefills = 0  # more than one only when it could not be shared, or had lost its room
        self.is_closed = False
        self._engine = engine

    @property
    def encode_seconds(self) -> float:
        """What encoding the clips took."""
        return sum(clip.encode_seconds for clip in self.clips)

    @property
    def audio_seconds(self) -> float:
        """How much audio the clips hold."""
        return sum(clip.frames for clip in self.clips) / 100

    def branch(
        self,
        prompt: Prompt,
        limit: int,
        stop: Sequence[Tag] = (),
        deadline: float | None = None,
        score: Sequence[Tag | TimeTag | str] | None = None,
    ) -> Future[Answer]:
        """Ask for an answer of at most ``limit`` tokens, or for the log-probabilities of the texts in ``score``.

        The answer ends with the end of text or a tag in ``stop``; at ``deadline``, seconds on ``time.monotonic``'s
        clock, it ends with what there is. ``future.cancel()`` works until the answer is there, and gives up the
        branch. The future fails with ``EngineClosed``, ``EngineOutOfMemory`` or ``AnswerNotFinite``. Raises
        ``InvalidPrompt``, ``PrefixClosed``, ``EngineClosed`` or ``EngineOutOfMemory`` at once.
        """
        ask = make_ask(self._engine.tokenizer, prompt, limit, stop, score)
        branch = Branch(self, ask, deadline)
        self._engine._submit(branch)
        return branch.future

    def close(self) -> None:
        """Give the place back; branches without an answer get one with what there is, ``cancelled``."""
        self._engine._release(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
