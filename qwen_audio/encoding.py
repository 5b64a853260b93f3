"""Encode the clips of prefixes, each once, and lay their spans between the embedded text."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.prefix import Clip, Prefix


def encode_clips(model: QwenAudioForConditionalGeneration, clips: Sequence[Clip]) -> None:
    """Encode clips together, padded to the longest; each takes an equal share of the time."""
    began = time.monotonic()
    mels = [clip.mel(model.device) for clip in clips]  # (mels, frames) each
    longest = max(mel.shape[-1] for mel in mels)
    features = torch.stack(  # (clips, mels, frames)
        [torch.nn.functional.pad(mel, (0, longest - mel.shape[-1])) for mel in mels]
    )
    spans = model.encode_audio(features, torch.tensor([clip.frames for clip in clips]))
    wait_for_device(model)
    share = (time.monotonic() - began) / len(clips)
    for clip, span in zip(clips, spans, strict=True):
        clip.span, clip.encode_seconds = span, share


def embed_prefix(model: QwenAudioForConditionalGeneration, prefix: Prefix) -> torch.Tensor:
    """Return the span of a prefix whose clips are encoded, (positions, hidden); the prefix keeps it."""
    if prefix.span is None:
        rows = []
        for part in prefix.parts:
            if isinstance(part, Clip):
                assert part.span is not None, "clips are encoded before their prefix is embedded"
                rows.append(part.span.to(model.dtype))
            else:
                rows.append(embed_ids(model, part.ids))
        prefix.span = torch.cat(rows)
    return prefix.span


def embed_ids(model: QwenAudioForConditionalGeneration, ids: Sequence[int]) -> torch.Tensor:
    """Embed ids: (ids, hidden)."""
    embedded: torch.Tensor = model.transformer.wte(torch.tensor(ids, dtype=torch.long, device=model.device))
    return embedded


def wait_for_device(model: QwenAudioForConditionalGeneration) -> None:
    """Wait until a GPU has done what it was told: else a time would be that of the launch."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
