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
    positions: torch.Tensor, alpha: torch.Tensor, scale: torch.Tensor, config: QwenAudioConfig
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute what ``rotate`` turns queries and keys by, in this order: float32 (rows, length, 2, 1, head) each.

    From positions (rows, length), alpha (rows,) and what queries are scaled by (rows, length). The first are cosines;
    the second are sines, with the sign that their half of the head takes.
    """
    head = config.kv_channels
    base = config.rotary_emb_base * alpha ** (head / (head - 2))  # (rows,)
    exponents = torch.arange(0, head, 2, device=positions.device, dtype=torch.float32) / head
    frequencies = 1.0 / base[:, None] ** exponents  # (rows, head / 2)
    angles = positions[..., None].float() * frequencies[:, None]  # (rows, length, head / 2)
    cos, sin = angles.cos(), angles.sin()
    scales = torch.stack((scale, torch.ones_like(scale)), dim=-1)[..., None]  # (rows, length, 2, 1)
    cos = torch.cat((cos, cos), dim=-1)[..., None, :] * scales
    sin = torch.cat((-sin, sin), dim=-1)[..., None, :] * scales
    return cos[..., None, :], sin[..., None, :]


def rotate(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate queries and keys by half-rotation, (rows, length, 2, heads, head); computed in float32."""
    if states.is_cuda and not torch.is_grad_enabled():
        return rotate_in_halves(states, cos, sin)
    return torch.addcmul(states * cos, states.roll(states.shape[-1] // 2, dims=-1), sin).to(states.dtype)


def rotate_in_halves(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Do the same with half the traffic and more calls, as a GPU wants it; without a gradient."""
    half = states.shape[-1] // 2
    turned = torch.empty(states.shape, dtype=states.dtype, device=states.device)
    for here, there in ((slice(half), slice(half, None)), (slice(half, None), slice(half))):
        first = states[..., here] * cos[..., here]
        torch.addcmul(first, states[..., there], sin[..., here], out=turned[..., here])
    return turned


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
