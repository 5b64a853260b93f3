"""Run transformers' own Qwen2-Audio with random weights of the official size, the way its users do: ``generate``."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from bench.models import Size, Task

MEL_BINS = 128
FRAMES = 3_000  # of 30 s, whatever the clip holds
AUDIO_TOKENS = 750
PROMPT_TOKENS = 8


class Peer:
    """A model of the size of ours, and how long it takes."""

    def __init__(self, size: Size, dtype: torch.dtype, device: str, vocabulary_rows: int) -> None:
        config = Qwen2AudioConfig(
            audio_config={
                "model_type": "qwen2_audio_encoder",
                "num_mel_bins": MEL_BINS,
                "encoder_layers": size.audio_layers,
                "encoder_attention_heads": size.audio_heads,
                "encoder_ffn_dim": 4 * size.audio_width,
                "d_model": size.audio_width,
            },
            text_config={
                "model_type": "qwen2",
                "vocab_size": vocabulary_rows,
                "hidden_size": size.hidden,
                "num_hidden_layers": size.layers,
                "num_attention_heads": size.heads,
                "num_key_value_heads": size.heads,
                "intermediate_size": size.feed_forward // 2,
            },
            audio_token_index=vocabulary_rows - 1,
        )
        self._dtype, self._device = dtype, device
        with torch.device(device):
            torch.set_default_dtype(dtype)
            try:
                self._model = Qwen2AudioForConditionalGeneration(config).eval()
            finally:
                torch.set_default_dtype(torch.float32)
        self._config = config

    def seconds(self, tasks: Sequence[Task], batch: int) -> float:
        """Ask tasks about a batch of 30 s chunks, one task after the other; return the seconds."""
        began = time.perf_counter()
        for task in tasks:
            ids = self._model.generate(
                **self._inputs(batch),
                max_new_tokens=task.tokens,
                min_new_tokens=task.tokens,
                do_sample=False,
                pad_token_id=0,
            )
            assert ids.shape[0] == batch
        if self._device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    def _inputs(self, batch: int) -> dict[str, torch.Tensor]:
        audio = torch.full((batch, AUDIO_TOKENS), self._config.audio_token_index)
        prompt = torch.arange(1, PROMPT_TOKENS + 1).expand(batch, -1)
        ids = torch.cat((audio, prompt), dim=1).to(self._device)
        features = torch.zeros(batch, MEL_BINS, FRAMES, dtype=self._dtype, device=self._device)
        return {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "input_features": features.normal_(),
            "feature_attention_mask": torch.ones(batch, FRAMES, dtype=torch.long, device=self._device),
        }
