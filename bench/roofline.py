"""Measure what a machine reaches by itself, and say how much of it the engine reached.

Prefill: two operations for each weight and position, in the encoder and in the language model, and what attention
takes, at the rate of a large matrix product. Decode: whichever is longer, reading or multiplying. A step reads each
weight of the language model and of its head once, and the keys and values of each live prefix and its branches once,
at the rate of a copy; each row multiplies with the layers and sees its prefix, each token with the head.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from qwen_audio.features import SAMPLING_RATE, audio_tokens, conv_frames, mel_frames
from qwen_audio.metrics import Metrics
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.prefix import SPAN_ENDS


@dataclass(frozen=True)
class Rates:
    """What a machine reaches by itself."""

    bytes_per_second: float  # of a copy, each byte counted when it is read and when it is written
    flops: float


def measure_rates(matrix: int, copy_bytes: int, dtype: torch.dtype, device: str) -> Rates:
    """Copy a large tensor and multiply large matrices; the best of several counts."""
    source = torch.ones(copy_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = _best_of(lambda: target.copy_(source), device)
    factor = torch.randn(matrix, matrix, device=device).to(dtype)
    product = _best_of(lambda: factor @ factor, device)
    return Rates(2 * copy_bytes / copy, 2 * matrix**3 / product)


@dataclass(frozen=True)
class Shares:
    """How much of the roofline was reached: the least time beside the time that it took."""

    prefill: float
    decode: float
    decode_reading: float  # the same, if multiplying cost nothing


def shares(
    model: QwenAudioForConditionalGeneration, rates: Rates, metrics: Metrics, chunk_seconds: float
) -> Shares:
    """Return which shares of the roofline prefill and decode reached, over chunks of one length."""
    config = model.config
    frames = mel_frames(round(chunk_seconds * SAMPLING_RATE))
    positions = audio_tokens(frames) + SPAN_ENDS
    language, encoder = _weights(model, ".h."), _weights(model, ".audio.")
    heard = conv_frames(frames)
    width = config.num_attention_heads * config.kv_channels
    # Scores and sums: the encoder's rows see each other, the language model's what stands before them.
    attending = (
        4 * heard**2 * config.audio["n_state"] * config.audio["n_layer"]
        + 2 * positions**2 * width * config.num_hidden_layers
    )
    operations = metrics.prefills * (2 * (language * positions + encoder * heard) + attending)
    computing = metrics.encode_seconds + metrics.prefill_seconds
    item = model.dtype.itemsize
    head = model.lm_head.weight.numel()
    weights = (language + head) * item
    cell = 2 * config.num_hidden_layers * width * item
    read = metrics.steps * weights + metrics.read_positions * cell
    # What a row does with its prefix; its own branch is left out.
    seen = 4 * positions * width * config.num_hidden_layers
    multiplied = metrics.fed_positions * (2 * language + seen) + metrics.tokens * 2 * head
    decoding = metrics.busy_seconds - computing
    reading = read / rates.bytes_per_second / decoding
    return Shares(
        prefill=operations / rates.flops / computing,
        decode=max(reading, multiplied / rates.flops / decoding),
        decode_reading=reading,
    )


def _weights(model: QwenAudioForConditionalGeneration, part: str) -> int:
    return sum(tensor.numel() for name, tensor in model.named_parameters() if part in name)


def _best_of(work: Callable[[], object], device: str, times: int = 10) -> float:
    """Return the fewest seconds that work took."""
    seconds = []
    for _ in range(times):
        _wait(device)
        began = time.perf_counter()
        work()
        _wait(device)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
