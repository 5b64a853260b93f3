from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from qwen_audio.packing import pack, similar

LENGTHS = st.lists(st.integers(1, 3000))


@given(LENGTHS)
def test_clips_of_an_encoder_call_are_alike_and_none_is_left_out(frames):
    groups = similar(frames, most=3000)
    assert sorted(place for group in groups for place in group) == list(range(len(frames)))
    for group in groups:
        sizes = [frames[place] for place in group]
        assert max(sizes) <= 1.25 * min(sizes)
        assert len(group) == 1 or len(group) * max(sizes) <= 3000


def test_short_clips_go_together_and_long_ones_alone():
    assert similar([3000, 100, 110, 3000, 120], most=3000) == [[1, 2, 4], [0], [3]]


@given(LENGTHS)
def test_prefixes_are_packed_in_order_up_to_the_size_of_a_call(lengths):
    groups = pack(lengths, most=1000)
    assert [place for group in groups for place in group] == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or sum(lengths[place] for place in group) <= 1000
    for group, after in pairwise(groups):
        assert (
            sum(lengths[place] for place in group) + lengths[after[0]] > 1000
        )  # none could have been larger
