import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_audio.repetition import MIN_COPIES, MIN_TOKENS, ends_in_a_loop

UNITS = st.lists(st.integers(0, 9), min_size=1, max_size=64)


@given(st.lists(st.integers(0, 9)), UNITS)
def test_enough_copies_of_a_unit_are_a_loop_whatever_came_before(start, unit):
    copies = max(MIN_COPIES, -(-MIN_TOKENS // len(unit)))
    assert ends_in_a_loop([*start, *unit * copies])


@given(st.lists(st.integers(), unique=True, min_size=0, max_size=300))
def test_an_answer_that_never_repeats_is_no_loop(ids):
    assert not ends_in_a_loop(ids)


@pytest.mark.parametrize(
    ("ids", "loops"),
    [
        ([], False),
        ([7] * 23, False),
        ([7] * 24, True),
        ([7, 8] * 11, False),
        ([7, 8] * 12, True),
        (list(range(10)) * 3, False),
        (list(range(10)) * 4, True),
        ([*list(range(10)) * 4, 99], False),
        (list(range(65)) * 4, False),
    ],
)
def test_a_loop_needs_four_copies_and_twenty_four_tokens(ids, loops):
    assert ends_in_a_loop(ids) is loops
