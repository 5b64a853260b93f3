"""Answer prompts about audio clips: one encode per clip, many branches, one batch at a time.

A background thread takes the branches that wait, of all prefixes, into one batch. This is the plain engine: each
branch computes the clip's prefix again, and a batch runs until its last branch has ended.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from qwen_audio import decoding
from qwen_audio.answers import Answer, FinishReason
from qwen_audio.branch import Branch, make_ask
from qwen_audio.errors import EngineClosed, EngineFull, InvalidPrompt, InvalidVocabulary, PrefixClosed
from qwen_audio.features import Samples, audio_tokens, log_mel, mel_frames
from qwen_audio.loading import find_checkpoint, fingerprint
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tokenizer import QwenAudioTokenizer

MAX_ROWS = 32  # branches in one batch
SPAN_ENDS = 2  # the rows of <audio> and </audio>
GATHER_SECONDS = 0.005  # how long the first branch of a batch waits for company


class Engine:
    """Owns a model and the thread that runs it. Every public method may be called from any thread.

    ``places`` is how many prefixes may be open at once. ``name`` and ``revision`` say which checkpoint answers.
    """

    def __init__(
        self,
        model: QwenAudioForConditionalGeneration,
        tokenizer: QwenAudioTokenizer,
        *,
        places: int = 8,
        name: str = "unnamed",
        revision: str = "unknown",
    ) -> None:
        if places < 1:
            raise ValueError(f"places must be at least 1, not {places}")
        _check_vocabulary(model, tokenizer)
        self.name = name
        self.revision = revision
        self.places = places
        self._model = model.eval()
        self.tokenizer = tokenizer
        self._changed = threading.Condition()  # guards everything below
        self._open: set[Prefix] = set()
        self._waiting: deque[Branch] = deque()
        self._running: list[Branch] = []
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"engine {name}", daemon=True)
        self._thread.start()

    @classmethod
    def load(cls, source: str | Path, *, device: str = "auto", dtype: str = "auto", places: int = 8) -> Self:
        """Load a checkpoint's folder, or ``owner/name@commit`` from the hub, and start.

        ``auto`` is the GPU in bfloat16 where there is one, else the CPU in float32. Raises the exceptions under
        ``InvalidCheckpoint``.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        folder = find_checkpoint(source)
        model = QwenAudioForConditionalGeneration.from_pretrained(folder, dtype=dtype).to(device)
        tokenizer = QwenAudioTokenizer.from_pretrained(folder)
        name = folder.resolve().name if Path(source).is_dir() else str(source).partition("@")[0]
        return cls(model, tokenizer, places=places, name=name, revision=fingerprint(folder))

    @property
    def free_places(self) -> int:
        """How many more prefixes can be opened now."""
        with self._changed:
            return self.places - len(self._open)

    def open(self, samples: Samples) -> Prefix:
        """Take a place for a clip: int16 or float32 samples (n,) at 16 kHz, 480 to 480,000 of them.

        Raises the exceptions under ``InvalidAudio``, ``EngineFull`` when no place is free, ``EngineClosed``. The
        clip is encoded with its first branch.
        """
        features = log_mel(samples)
        prefix = Prefix(self, features, mel_frames(len(samples)))
        with self._changed:
            self._refuse_when_closed()
            if len(self._open) >= self.places:
                raise EngineFull(f"all {self.places} places are taken: close a prefix first")
            self._open.add(prefix)
        return prefix

    def close(self) -> None:
        """Stop: branches that have no answer yet fail with ``EngineClosed``. May be called twice."""
        with self._changed:
            self._closed = True
            unanswered = [*self._waiting, *self._running]
            self._waiting.clear()
            self._changed.notify_all()
        for branch in unanswered:
            branch.fail(EngineClosed(f"engine {self.name} was closed before it could answer: ask again"))
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise EngineClosed(f"engine {self.name} is closed: load another one")

    def _submit(self, branch: Branch) -> None:
        positions = branch.prefix.audio_tokens + SPAN_ENDS + branch.ask.positions
        if positions > self._model.config.max_position_embeddings:
            raise InvalidPrompt(
                f"audio, prompt and answer need {positions} positions, the model has "
                f"{self._model.config.max_position_embeddings}: shorten the prompt or the limit"
            )
        with self._changed:
            self._refuse_when_closed()
            if branch.prefix.is_closed:
                raise PrefixClosed("the prefix is closed: open the clip again")
            self._waiting.append(branch)
            self._changed.notify_all()

    def _release(self, prefix: Prefix) -> None:
        """Give a prefix's place back; its waiting branches end now, its running ones at their next token."""
        with self._changed:
            prefix.is_closed = True
            self._open.discard(prefix)
            ended = [branch for branch in self._waiting if branch.prefix is prefix]
            self._waiting = deque(branch for branch in self._waiting if branch.prefix is not prefix)
        for branch in ended:
            self._finish(branch, FinishReason.CANCELLED)

    def _run(self) -> None:
        while not self._closed:
            self._serve(self._next_batch())

    def _next_batch(self) -> list[Branch]:
        """Wait for branches and take up to ``MAX_ROWS``; none when they were cancelled or the engine is closed."""
        with self._changed:
            self._running = []
            self._changed.wait_for(lambda: self._waiting or self._closed)
            self._changed.wait_for(
                lambda: len(self._waiting) >= MAX_ROWS or self._closed, timeout=GATHER_SECONDS
            )
            self._running = [self._waiting.popleft() for _ in range(min(MAX_ROWS, len(self._waiting)))]
            return self._running

    def _serve(self, batch: list[Branch]) -> None:
        """Answer a batch. When it fails each branch is tried alone, so that an error reaches only who causes it."""
        pending = [branch for branch in batch if not branch.is_gone()]
        try:
            self._answer(pending)
        except Exception as error:  # noqa: BLE001  # it becomes the branch's result
            if len(pending) == 1:
                pending[0].fail(error)
                return
            for branch in pending:
                self._serve([branch])

    @torch.inference_mode()
    def _answer(self, branches: list[Branch]) -> None:
        going = []
        for branch in branches:
            if reason := branch.interruption():
                self._finish(branch, reason)
            else:
                going.append(branch)
        self._encode([branch.prefix for branch in going])
        for branch in going:
            branch.start()
            if branch.ask.candidates is not None:
                self._finish(branch, FinishReason.SCORED, decoding.score(self._model, branch))
        decoded = [branch for branch in going if branch.ask.candidates is None]
        if decoded:
            decoding.decode(self._model, decoded, self._finish)

    def _encode(self, prefixes: list[Prefix]) -> None:
        """Encode the clips that have not been, together."""
        new = [prefix for prefix in dict.fromkeys(prefixes) if prefix.span is None]
        if not new:
            return
        began = time.monotonic()
        longest = max(prefix.features.shape[-1] for prefix in new)
        features = torch.stack(
            [
                torch.nn.functional.pad(prefix.features, (0, longest - prefix.features.shape[-1]))
                for prefix in new
            ]
        )  # (clips, mels, frames)
        lengths = torch.tensor([prefix.frames for prefix in new])
        spans = self._model.encode_audio(features.to(self._model.device), lengths)
        if spans[0].is_cuda:
            torch.cuda.synchronize(spans[0].device)  # else the time would be that of the launch
        share = (time.monotonic() - began) / len(new)
        for prefix, span in zip(new, spans, strict=True):
            prefix.span, prefix.encode_seconds = span, share

    def _finish(self, branch: Branch, reason: FinishReason, scores: dict[str, float] | None = None) -> None:
        branch.finish(reason, self.tokenizer, scores)


class Prefix:
    """One clip inside the engine; made by ``Engine.open`` and good until it is closed.

    ``audio_tokens`` is what the clip costs, 25 per second.
    """

    def __init__(self, engine: Engine, features: torch.Tensor, frames: int) -> None:
        self.audio_tokens = audio_tokens(frames)
        self.features = features  # (mels, frames)
        self.frames = frames  # that the clip fills
        self.span: torch.Tensor | None = None  # (audio tokens + 2, hidden), set by the engine's thread
        self.encode_seconds = 0.0
        self.is_closed = False
        self._engine = engine

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
        branch. The future fails with ``EngineClosed`` or ``AnswerNotFinite``. Raises ``InvalidPrompt``,
        ``PrefixClosed`` or ``EngineClosed`` at once.
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


def _check_vocabulary(model: QwenAudioForConditionalGeneration, tokenizer: QwenAudioTokenizer) -> None:
    """Refuse a tokenizer that belongs to another checkpoint; raises ``InvalidVocabulary``."""
    config = model.config
    if not tokenizer.vocabulary_size == config.vocabulary_size <= config.vocab_size:
        raise InvalidVocabulary(
            f"qwen.tiktoken makes {tokenizer.vocabulary_size} ids, config.json wants {config.vocabulary_size} of "
            f"{config.vocab_size}: the two files belong to different checkpoints"
        )
