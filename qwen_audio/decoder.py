"""Decode with transformers' Qwen2-style layers around an attention of our own.

What differs from Qwen2: one fused projection, rotation in float32, the log-n query scale, and the official sizes of
the feed-forward layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.cache_utils import Cache
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.qwen2.modeling_qwen2 import (
    Qwen2DecoderLayer,
    Qwen2MLP,
    eager_attention_forward,
)

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.rotary import rotate


class QwenAudioAttention(nn.Module):
    """Causal self-attention with one fused projection, rotation in float32 and the log-n query scale."""

    num_key_value_groups = 1
    is_causal = True

    def __init__(self, config: QwenAudioConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.kv_channels
        width = config.kv_channels * config.num_attention_heads
        self.qkv_proj = nn.Linear(config.hidden_size, 3 * width, bias=True)
        self.o_proj = nn.Linear(width, config.hidden_size, bias=False)

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        **kwargs: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend: (rows, length, hidden), and what ``rotary_table`` returns."""
        rows, length, _ = hidden_states.shape
        query, key, value = self.project(hidden_states, position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attended, weights = attend(
            self, query, key, value, attention_mask, scaling=self.head_dim**-0.5, **kwargs
        )
        output: torch.Tensor = self.o_proj(attended.reshape(rows, length, -1))
        return output, weights

    def project(
        self, hidden_states: torch.Tensor, position_embeddings: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Compute rotated queries, rotated keys and values, each (rows, heads, length, head)."""
        rows, length, _ = hidden_states.shape
        fused = self.qkv_proj(hidden_states).view(rows, length, 3, -1, self.head_dim)
        query, key = rotate(fused[:, :, :2], *position_embeddings).permute(2, 0, 3, 1, 4)
        return query, key, fused[:, :, 2].transpose(1, 2)


class QwenAudioDecoderLayer(Qwen2DecoderLayer):  # type: ignore[misc]  # transformers is untyped
    """Qwen2's pre-norm layer around the fused attention; its forward is inherited."""

    def __init__(self, config: QwenAudioConfig, layer_idx: int) -> None:
        GradientCheckpointingLayer.__init__(self)  # Qwen2's own would build the attention that is replaced
        self.self_attn = QwenAudioAttention(config, layer_idx)
        self.mlp = Qwen2MLP(config.feed_forward)
        self.input_layernorm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
        self.post_attention_layernorm = nn.RMSNorm(config.hidden_size, eps=config.layer_norm_epsilon)
