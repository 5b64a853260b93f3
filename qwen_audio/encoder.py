"""Encode log-mel spectrograms into audio tokens, with transformers' Whisper-style layers.

A clip gets the same rows in every company: what a longer neighbour adds behind a clip's end is silenced before it
can be heard. The official code lets it leak into the clip's last frame.
"""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoderLayer

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.errors import InvalidAudio
from qwen_audio.features import audio_tokens, conv_frames

CONV_STEP = 256  # mel frames


class QwenAudioEncoder(nn.Module):
    """Two convolutions, pre-norm transformer layers, pooling by two, projection to the language model's width."""

    positional_embedding: torch.Tensor

    def __init__(self, config: QwenAudioConfig) -> None:
        super().__init__()
        self.config = config
        width = config.d_model
        self.conv1 = nn.Conv1d(config.audio["n_mels"], width, kernel_size=3, padding=1)
        self.conv2 = nn.Conv1d(width, width, kernel_size=3, stride=2, padding=1)
        # Loaded, never recomputed: the checkpoint holds the sinusoids rounded to its own dtype.
        self.register_buffer("positional_embedding", sinusoids(config.audio["n_ctx"], width))
        self.layers = nn.ModuleList(Qwen2AudioEncoderLayer(config) for _ in range(config.audio["n_layer"]))
        self.pool = nn.AvgPool1d(2, stride=2)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Linear(width, config.hidden_size)
        self.audio_bos_eos_token = nn.Embedding(2, config.hidden_size)

    def forward(self, input_features: torch.Tensor, feature_lengths: torch.Tensor) -> list[torch.Tensor]:
        """Encode clips: (clips, mels, frames), padded at the end, and the mel frames that each clip fills (clips,).

        Returns one span per clip, (audio tokens + 2, hidden): the row of ``<audio>``, the audio, the row of
        ``</audio>``. Raises ``InvalidAudio`` for a clip longer than the encoder's positions.
        """
        lengths: list[int] = feature_lengths.tolist()
        frames = [conv_frames(length) for length in lengths]
        self._check(input_features, frames)
        heard = torch.tensor(frames, device=input_features.device)  # (clips,)
        hidden = self._convolve(input_features[..., : 2 * max(frames)], heard)  # (clips, frames, width)
        # Clips of one length hear each other nowhere: without a mask a faster kernel runs, and nobody waits to look.
        within = None if min(frames) == max(frames) else _within(heard, max(frames))
        mask = create_bidirectional_mask(config=self.config, inputs_embeds=hidden, attention_mask=within)
        for layer in self.layers:
            hidden = layer(hidden, mask)
        pooled = self.pool(hidden.transpose(1, 2)).transpose(1, 2)
        tokens = self.proj(self.ln_post(pooled))  # (clips, max tokens, hidden)
        first, last = self.audio_bos_eos_token.weight[:, None]  # (1, hidden) each
        return [
            torch.cat((first, rows[: audio_tokens(length)], last))
            for rows, length in zip(tokens, lengths, strict=True)
        ]

    def _convolve(self, mel: torch.Tensor, heard: torch.Tensor) -> torch.Tensor:
        # A kernel at a clip's last frame reaches one mel frame further. Alone the clip has zero padding there, so
        # the batch's padding and its neighbours' length must read as zeros too. The second convolution needs no
        # such care: its frames below ``heard`` never reach past twice their number.
        mel = mel * _within(2 * heard, mel.shape[-1])[:, None]
        mel = mel.to(self.conv1.weight.dtype)
        frames = conv_frames(mel.shape[-1])
        if (
            mel.is_cuda
        ):  # every length of a convolution is planned anew there: few lengths, and more of the zeros
            mel = nn.functional.pad(mel, (0, -mel.shape[-1] % CONV_STEP))
        hidden = nn.functional.gelu(self.conv1(mel))
        hidden = nn.functional.gelu(self.conv2(hidden))[..., :frames]
        hidden = hidden.transpose(1, 2)  # (clips, frames, width)
        return hidden + self.positional_embedding[:frames]

    def _check(self, input_features: torch.Tensor, frames: list[int]) -> None:
        limit = self.positional_embedding.shape[0]
        if not 2 <= min(frames) <= max(frames) <= limit:
            raise InvalidAudio(
                f"clips of {frames} frames: each must have 2 to {limit} after the convolutions"
            )
        if input_features.shape[-1] < 2 * max(frames):
            raise InvalidAudio(f"{input_features.shape[-1]} mel frames given, {2 * max(frames)} needed")


def _within(lengths: torch.Tensor, size: int) -> torch.Tensor:
    """Mark the places below each length: (rows,) to boolean (rows, size)."""
    return torch.arange(size, device=lengths.device) < lengths[:, None]


def sinusoids(length: int, width: int) -> torch.Tensor:
    """Compute Whisper's fixed positions, (length, width): sines in the first half, cosines in the second."""
    step = math.log(10_000) / (width // 2 - 1)
    frequencies = torch.exp(-step * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cat((angles.sin(), angles.cos()), dim=1)
