"""Compute what depends on a token's position: rotary angles, dynamic NTK and the log-n query scale.

Pure functions of positions and lengths. Positions are counted from each row's first real token, so left padding
does not show; the official code counts padding too, which changes nothing for a batch of one.
"""

from __future__ import annotations

import torch

from qwen_audio.configuration import QwenAudioConfig


def ntk_alpha(lengths: torch.Tensor, config: QwenAudioConfig) -> torch.Tensor:
    """Give each row the factor that stretches its rotary base: true prompt lengths (rows,) to float32 (rows,).

    1 up to ``seq_length`` tokens, then 3, 7, ... at each doubling. Fixed when the prompt is first computed: rows
    that grow past a border while they are decoded keep their factor.
    """
    if not config.use_dynamic_ntk:
        return torch.ones_like(lengths, dtype=torch.float32)
    doublings = torch.ceil(torch.log2(lengths.float() / config.seq_length) + 1)
    return torch.clamp(2**doublings - 1, min=1.0)


def rotary_table(
    positions: torch.Tensor, alpha: torch.Tensor, config: QwenAudioConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute cos and sin, float32 (rows, length, head): positions (rows, length), alpha (rows,)."""
    head = config.kv_channels
    base = config.rotary_emb_base * alpha ** (head / (head - 2))  # (rows,)
    exponents = torch.arange(0, head, 2, device=positions.device, dtype=torch.float32) / head
    frequencies = 1.0 / base[:, None] ** exponents  # (rows, head / 2)
    angles = positions[..., None].float() * frequencies[:, None]  # (rows, length, head / 2)
    angles = torch.cat((angles, angles), dim=-1)
    return angles.cos(), angles.sin()


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate (rows, heads, length, head) by half-rotation in float32; the result is float32."""
    states = states.float()
    first, second = states.chunk(2, dim=-1)
    return states * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]


def query_scale(positions: torch.Tensor, config: QwenAudioConfig) -> torch.Tensor:
    """Scale queries beyond the trained length by log-n: positions (rows, length) to float32 of the same shape.

    1 inside the first ``seq_length`` positions, then log(position + 1) to the base ``seq_length`` (Su, 2021).
    """
    counted = positions.float() + 1
    if not config.use_logn_attn:
        return torch.ones_like(counted)
    # Made on the device: a copy from the host could not be recorded.
    trained = torch.full((), float(config.seq_length), device=positions.device)
    return torch.clamp(counted.log() / trained.log(), min=1.0)
