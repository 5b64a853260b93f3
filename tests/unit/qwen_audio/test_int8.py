"""Weights in 8 bits: what is rounded, what is lost, and that answers stay independent of their company."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from qwen_audio.engine import Engine
from qwen_audio.int8 import LARGEST, Int8Linear, to_int8, use_int8
from qwen_audio.plain_engine import PlainEngine
from qwen_audio.streaming import load_model
from qwen_audio.tags import Prompt, Tag, TimeTag

WORDS = Prompt((Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0)))
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
SECONDS = 60


@settings(deadline=None)
@given(st.integers(0, 99), st.floats(1e-6, 1e6))
def test_a_weight_is_off_by_half_a_step_of_its_row_at_most(seed, size):
    weight = size * torch.randn(7, 33, generator=torch.Generator().manual_seed(seed))
    weight *= torch.logspace(-3, 3, 7)[:, None]  # rows of very different loudness
    rounded, scale = to_int8(weight)
    assert (rounded.dtype, scale.shape) == (torch.int8, (7,))
    assert torch.equal(rounded.abs().amax(dim=1), torch.full((7,), LARGEST, dtype=torch.int8))
    error = (rounded * scale[:, None] - weight).abs()
    assert (error <= 0.5001 * scale[:, None]).all()


def test_a_row_of_zeros_stays_zeros():
    rounded, scale = to_int8(torch.zeros(2, 5))
    assert not rounded.any()
    assert torch.equal(scale, torch.ones(2))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layer_computes_with_the_rounded_weights(bias, dtype):
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=bias).to(dtype)
    holder = nn.Sequential(linear)
    use_int8(holder)
    layer = holder[0]
    assert isinstance(layer, Int8Linear)
    layer.round(linear.weight.detach())
    if bias:
        layer.bias = linear.bias.detach()
    states = torch.randn(3, 5, 64).to(dtype)
    rounded = layer.weight.double() * layer.scale.double()[:, None]
    expected = nn.functional.linear(states.double(), rounded, linear.bias.double() if bias else None)
    assert layer(states).dtype == dtype
    tolerance = 1e-5 if dtype == torch.float32 else 0.02
    torch.testing.assert_close(layer(states).double(), expected, atol=tolerance, rtol=tolerance)


def test_only_the_layers_of_the_language_model_are_rounded(mini_folder):
    full, rounded = (load_model(mini_folder, "cpu", torch.float32, int8=int8) for int8 in (False, True))
    kinds = {name: module for name, module in rounded.named_modules() if isinstance(module, Int8Linear)}
    assert len(kinds) == 5 * rounded.config.num_hidden_layers
    assert all(name.startswith("transformer.h.") for name in kinds)
    assert torch.equal(rounded.lm_head.weight, full.lm_head.weight)
    assert torch.equal(rounded.transformer.audio.proj.weight, full.transformer.audio.proj.weight)
    layer, linear = rounded.transformer.h[2].mlp.down_proj, full.transformer.h[2].mlp.down_proj
    assert torch.equal(layer.weight, to_int8(linear.weight)[0])
    assert torch.equal(layer.scale, to_int8(linear.weight)[1])
    fused = rounded.transformer.h[0].self_attn.qkv_proj
    assert torch.equal(fused.bias, full.transformer.h[0].self_attn.qkv_proj.bias)
    assert layer.weight.nbytes * 4 == linear.weight.nbytes


def test_the_fast_engine_equals_the_plain_one_with_rounded_weights_too(mini_folder, mini_tokenizer, clip):
    model = load_model(mini_folder, "cpu", torch.float32, int8=True)
    answers = []
    for kind in (PlainEngine, Engine):
        with kind(model, mini_tokenizer) as engine:
            prefixes = [engine.open(clip(name)) for name in ("syn_8s.wav", "syn_3s217.wav")]
            futures = [prefix.branch(prompt, 20) for prefix in prefixes for prompt in (WORDS, CAPTION)]
            answers.append([future.result(SECONDS) for future in futures])
    for plain, fast in zip(*answers, strict=True):
        assert fast.ids == plain.ids
        assert fast.logprobs == pytest.approx(plain.logprobs, abs=2e-4)


def test_a_revision_says_that_the_weights_were_rounded(tiny_folder):
    with (
        Engine.load(tiny_folder, device="cpu") as full,
        Engine.load(tiny_folder, device="cpu", weights="int8") as rounded,
    ):
        assert rounded.revision == f"{full.revision}-int8"
