import math

import pytest
import torch

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.rotary import ntk_alpha, query_scale, rotary_table, rotate, rotate_in_halves

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


def _table(positions, alpha, scale=None):
    positions = torch.tensor(positions)
    scale = torch.ones(positions.shape) if scale is None else torch.tensor(scale)
    return rotary_table(positions, torch.tensor(alpha), scale, CONFIG)


def test_rotation_depends_on_distance_alone():
    states = torch.randn(1, 1, 2, 2, 128, generator=torch.Generator().manual_seed(0))

    def product(query, key):
        turned = rotate(states, *_table([[query]], [3.0]))
        return (turned * rotate(states, *_table([[key]], [3.0]))).sum(-1)

    torch.testing.assert_close(product(9, 4), product(105, 100), atol=1e-3, rtol=0)
    assert not torch.allclose(product(9, 4), product(9, 5), atol=1e-3)


def test_a_pair_of_the_two_halves_of_a_head_turns_by_its_angle():
    states = torch.zeros(1, 1, 2, 1, 128)
    states[..., 0] = 1.0  # the first of its pair; the other one is 64 further
    turned = rotate(states, *_table([[2]], [1.0]))
    assert turned[0, 0, 0, 0, [0, 64]].tolist() == pytest.approx([math.cos(2), math.sin(2)])
    states = states.roll(64, dims=-1)
    turned = rotate(states, *_table([[2]], [1.0]))
    assert turned[0, 0, 1, 0, [0, 64]].tolist() == pytest.approx([-math.sin(2), math.cos(2)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_in_halves_the_same_comes_out_to_the_last_bit(dtype):
    states = torch.randn(2, 5, 2, 3, 128, generator=torch.Generator().manual_seed(0)).to(dtype)
    table = _table([[0, 7, 300, 2000, 2100]] * 2, [1.0, 3.0])
    whole, halves = rotate(states, *table), rotate_in_halves(states, *table)
    assert whole.dtype == halves.dtype == dtype
    assert torch.equal(whole, halves)


def test_a_scale_reaches_queries_and_leaves_keys_alone():
    states = torch.randn(1, 1, 2, 3, 128, generator=torch.Generator().manual_seed(0))
    plain, scaled = (rotate(states, *_table([[7]], [1.0], scale)) for scale in ([[1.0]], [[1.5]]))
    torch.testing.assert_close(scaled[:, :, 0], 1.5 * plain[:, :, 0])
    assert torch.equal(scaled[:, :, 1], plain[:, :, 1])


def test_each_row_has_its_own_factor():
    positions = [[0, 1, 2, 3, 4]]
    cos, _ = _table(positions * 2, [1.0, 3.0])
    alone, _ = _table(positions, [3.0])
    assert torch.equal(cos[1:], alone)
    assert not torch.equal(cos[:1], alone)
