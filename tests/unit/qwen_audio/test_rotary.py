import pytest
import torch

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.rotary import ntk_alpha, query_scale, rotary_table, rotate

CONFIG = QwenAudioConfig()


def test_the_ntk_factor_steps_at_each_doubling_of_the_trained_length():
    lengths = torch.tensor([1, 760, 2048, 2049, 4096, 4097, 8192])
    assert ntk_alpha(lengths, CONFIG).tolist() == [1, 1, 1, 3, 3, 7, 7]


def test_without_dynamic_ntk_the_factor_stays_one():
    assert ntk_alpha(torch.tensor([9000]), QwenAudioConfig(use_dynamic_ntk=False)).tolist() == [1]


def test_queries_are_scaled_only_beyond_the_trained_length():
    scale = query_scale(torch.tensor([[0, 2047, 2048, 4095]]), CONFIG)[0]
    assert scale[:2].tolist() == [1, 1]
    assert scale[2] > 1
    assert scale[3].item() == pytest.approx(12 / 11)  # log(4096) / log(2048)


def test_without_logn_no_query_is_scaled():
    scale = query_scale(torch.tensor([[5000]]), QwenAudioConfig(use_logn_attn=False))
    assert scale.tolist() == [[1]]


def test_rotation_depends_on_distance_alone():
    states = torch.randn(1, 2, 1, 128, generator=torch.Generator().manual_seed(0))
    alpha = torch.tensor([3.0])

    def product(query, key):
        cos, sin = rotary_table(torch.tensor([[query]]), alpha, CONFIG)
        turned = rotate(states, cos, sin)
        cos, sin = rotary_table(torch.tensor([[key]]), alpha, CONFIG)
        return (turned * rotate(states, cos, sin)).sum(-1)

    torch.testing.assert_close(product(9, 4), product(105, 100), atol=1e-3, rtol=0)
    assert not torch.allclose(product(9, 4), product(9, 5), atol=1e-3)


def test_each_row_has_its_own_factor():
    positions = torch.arange(5).expand(2, -1)
    cos, _ = rotary_table(positions, torch.tensor([1.0, 3.0]), CONFIG)
    alone, _ = rotary_table(positions[:1], torch.tensor([3.0]), CONFIG)
    assert torch.equal(cos[1:], alone)
    assert not torch.equal(cos[:1], alone)
