"""Answer greedily without any cache: every token from a forward pass over everything before it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from torch.nn.functional import pad

from qwen_audio.features import log_mel, mel_frames
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.rotary import ntk_alpha


@torch.inference_mode()
def recompute(
    model: QwenAudioForConditionalGeneration,
    ids: Sequence[int],
    clips: Sequence[np.ndarray],
    limit: int,
    stop: Collection[int],
) -> list[int]:
    """Continue ids, which hold the places of clips, by at most ``limit`` ids; an id in ``stop`` is the last one."""
    alpha = ntk_alpha(torch.tensor([len(ids)]), model.config)  # the prompt decides, also for what follows it
    features = [log_mel(samples) for samples in clips]
    longest = max((feature.shape[-1] for feature in features), default=0)
    audio = {}
    if clips:
        audio = {
            "input_features": torch.stack([pad(one, (0, longest - one.shape[-1])) for one in features]),
            "feature_lengths": torch.tensor([mel_frames(len(samples)) for samples in clips]),
        }
    new: list[int] = []
    while len(new) < limit and not (new and new[-1] in stop):
        outputs = model(
            input_ids=torch.tensor([[*ids, *new]]),
            ntk_alpha=alpha,
            use_cache=False,
            logits_to_keep=1,
            **audio,
        )
        new.append(int(outputs.logits[0, -1, : model.config.vocabulary_size].argmax()))
    return new
