"""Answer prompts the plain way, as the readable reference that the fast engine is tested against.

A clip is encoded once, but each branch computes the whole prefix again, and a batch of branches runs until its last
one has ended.
"""

from __future__ import annotations

import torch

from qwen_audio import decoding
from qwen_audio.answers import FinishReason
from qwen_audio.branch import Branch
from qwen_audio.encoding import embed_prefix, encode_clips
from qwen_audio.front import Front
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.prefix import Prefix
from qwen_audio.tokenizer import QwenAudioTokenizer

MAX_ROWS = 32  # branches in one batch
GATHER_SECONDS = 0.005  # how long the first branch of a batch waits for company


class PlainEngine(Front):
    """The engine without shared prefixes; its interface and its answers are those of ``Engine``."""

    def __init__(
        self,
        model: QwenAudioForConditionalGeneration,
        tokenizer: QwenAudioTokenizer,
        *,
        places: int = 8,
        name: str = "unnamed",
        revision: str = "unknown",
    ) -> None:
        super().__init__(model, tokenizer, places=places, name=name, revision=revision)
        self._start()

    def _run(self) -> None:
        while self._end is None:
            self._serve(self._next_batch())

    def _next_batch(self) -> list[Branch]:
        """Wait for branches and take up to ``MAX_ROWS``; none when they were cancelled or the engine is closed."""
        with self._changed:
            self._running = []
            self._changed.wait_for(lambda: self._waiting or self._end)
            self._changed.wait_for(
                lambda: len(self._waiting) >= MAX_ROWS or self._end, timeout=GATHER_SECONDS
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
        clips = [clip for prefix in new for clip in prefix.clips if clip.span is None]
        if clips:
            encode_clips(self._model, clips)
        for prefix in new:
            embed_prefix(self._model, prefix)
