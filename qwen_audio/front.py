"""Be what callers see of an engine: loading, places, prefixes, the queue of branches, and the end."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import torch

from qwen_audio.answers import FinishReason
from qwen_audio.branch import Branch
from qwen_audio.errors import (
    EngineClosed,
    EngineFull,
    InvalidPrompt,
    InvalidVocabulary,
    PrefixClosed,
    QwenAudioError,
)
from qwen_audio.features import SAMPLING_RATE, Samples
from qwen_audio.loading import find_checkpoint, fingerprint
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.prefix import Prefix, make_parts
from qwen_audio.store import fitting_places
from qwen_audio.streaming import load_model
from qwen_audio.tags import Prompt
from qwen_audio.tokenizer import QwenAudioTokenizer

Precision = Literal["auto", "float32", "bfloat16"]
Weights = Literal["full", "int8"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Front(ABC):
    """Owns a model and the thread that runs it. Every public method may be called from any thread.

    ``places`` is how many prefixes may be open at once. ``name`` and ``revision`` say which checkpoint answers.
    A subclass calls ``_start`` when it is ready and does its work in ``_run``.
    """

    def __init__(
        self,
        model: QwenAudioForConditionalGeneration,
        tokenizer: QwenAudioTokenizer,
        *,
        places: int,
        name: str,
        revision: str,
    ) -> None:
        if places < 1:
            raise ValueError(f"places must be at least 1, not {places}")
        _check_vocabulary(model, tokenizer)
        self.name = name
        self.revision = revision
        self.places = places
        self._model = model.eval()
        self.tokenizer = tokenizer
        self._hears_on_device = False  # whether features are computed where the model is
        self._changed = threading.Condition()  # guards everything below
        self._open: set[Prefix] = set()
        self._waiting: deque[Branch] = deque()
        self._running: list[Branch] = []
        self._end: QwenAudioError | None = None  # why the engine takes no more
        self._thread = threading.Thread(target=self._run, name=f"engine {name}", daemon=True)

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        device: str = "auto",
        dtype: Precision = "auto",
        weights: Weights = "full",
        places: int = 0,
        times: int = 1,
        **options: Any,
    ) -> Self:
        """Load a checkpoint's folder, or ``owner/name@commit`` from the hub, and start; ``options`` are the engine's.

        ``places`` times ``times`` prefixes may be open; 0 stands for what fits (``fitting_places``).
        ``auto`` is the GPU in bfloat16 where there is one, else the CPU in float32. With ``int8`` weights the layers
        of the language model are rounded to 8 bits, and ``revision`` says so, because answers differ. Raises the
        exceptions under ``InvalidCheckpoint``.
        """
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if dtype == "auto":
            dtype = "float32" if device == "cpu" else "bfloat16"
        folder = find_checkpoint(source)
        model = load_model(folder, device, DTYPES[dtype], int8=weights == "int8")
        tokenizer = QwenAudioTokenizer.from_pretrained(folder)
        name = folder.resolve().name if Path(source).is_dir() else str(source).partition("@")[0]
        revision = fingerprint(folder) + ("-int8" if weights == "int8" else "")
        places = times * (places or fitting_places(model.config, model.dtype, model.device))
        return cls(model, tokenizer, places=places, name=name, revision=revision, **options)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        device: torch.device = self._model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        dtype: torch.dtype = self._model.dtype
        return dtype

    @property
    def free_places(self) -> int:
        """How many more prefixes can be opened now."""
        with self._changed:
            return self.places - len(self._open)

    @property
    def clip_samples(self) -> int | None:
        """The longest clip that the model follows word by word: ``clip_seconds`` of its generation_config.json.

        None where that says nothing, as the official ones: then it is any clip that can be opened.
        """
        seconds = getattr(self._model.generation_config, "clip_seconds", None)
        return None if seconds is None else round(float(seconds) * SAMPLING_RATE)

    def open(self, samples: Samples) -> Prefix:
        """Take a place for a clip: int16 or float32 samples (n,) at 16 kHz, 480 to 480,000 of them.

        Raises the exceptions under ``InvalidAudio``, ``EngineFull`` when no place is free, ``EngineClosed``,
        ``EngineOutOfMemory``. The clip is encoded with its first branch.
        """
        return self.open_parts([samples])

    def open_parts(self, parts: Sequence[Prompt | Samples]) -> Prefix:
        """Take a place for clips and text in order, such as a conversation (``qwen_audio.chatml``).

        Raises what ``open`` raises, and ``InvalidPrompt`` for text that cannot stand before an answer.
        """
        prefix = Prefix(self, make_parts(self.tokenizer, parts, on_device=self._hears_on_device))
        self._check_length(prefix.positions, "the prefix needs")
        with self._changed:
            self._refuse_when_ended()
            if len(self._open) >= self.places:
                raise EngineFull(f"all {self.places} places are taken: close a prefix first")
            self._open.add(prefix)
        return prefix

    def close(self) -> None:
        """Stop: branches that have no answer yet fail with ``EngineClosed``. May be called twice."""
        self._stop(EngineClosed(f"engine {self.name} is closed: ask another one"))
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @abstractmethod
    def _run(self) -> None:
        """Answer branches until there is an end; the engine's thread."""

    def _start(self) -> None:
        self._thread.start()

    def _stop(self, end: QwenAudioError) -> None:
        """Take nothing more and fail what has no answer; the first end counts."""
        with self._changed:
            self._end = self._end or end
            unanswered = [*self._waiting, *self._running]
            self._waiting.clear()
            self._open.clear()
            self._changed.notify_all()
        for branch in unanswered:
            branch.fail(_again(self._end))

    def _refuse_when_ended(self) -> None:
        if self._end is not None:
            raise _again(self._end)

    def _check_length(self, positions: int, what: str) -> None:
        most = self._model.config.max_position_embeddings
        if positions > most:
            raise InvalidPrompt(f"{what} {positions} positions, the model has {most}: shorten it")

    def _check_branch(self, branch: Branch) -> None:
        """Raise ``InvalidPrompt`` for what can never be answered."""
        positions = branch.prefix.positions + branch.ask.positions
        self._check_length(positions, "prefix, prompt and answer need")

    def _submit(self, branch: Branch) -> None:
        self._check_branch(branch)
        with self._changed:
            self._refuse_when_ended()
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
            self._changed.notify_all()
        for branch in ended:
            self._finish(branch, FinishReason.CANCELLED)

    def _finish(self, branch: Branch, reason: FinishReason, scores: dict[str, float] | None = None) -> None:
        branch.finish(reason, self.tokenizer, scores)


def _again(error: QwenAudioError) -> QwenAudioError:
    """Make an equal error: one that several threads raise would collect all their tracebacks."""
    return type(error)(*error.args)


def _check_vocabulary(model: QwenAudioForConditionalGeneration, tokenizer: QwenAudioTokenizer) -> None:
    """Refuse a tokenizer that belongs to another checkpoint; raises ``InvalidVocabulary``."""
    config = model.config
    if not tokenizer.vocabulary_size == config.vocabulary_size <= config.vocab_size:
        raise InvalidVocabulary(
            f"qwen.tiktoken makes {tokenizer.vocabulary_size} ids, config.json wants {config.vocabulary_size} of "
            f"{config.vocab_size}: the two files belong to different checkpoints"
        )
