import pytest

from qwen_audio.rooms import Room


@pytest.fixture
def room():
    room = Room(0, 0, cells=20)
    room.settle(10)
    return room


def test_the_cells_of_an_ended_branch_are_used_again_the_lowest_first(room):
    assert room.reserve(4)
    assert room.reserve(4)
    first, second = room.take(3), room.take(2)
    assert (first, second) == ([10, 11, 12], [13, 14])
    room.give_back(first, 4)
    assert room.take(2) == [10, 11]
    assert room.take(2) == [12, 15]
    assert room.length == 16


def test_no_more_is_promised_than_there_is(room):
    assert not room.reserve(11)
    assert room.reserve(10)
    assert not room.reserve(1)
    room.give_back([], 10)
    assert room.reserve(1)


def test_nobody_takes_more_than_there_is(room):
    with pytest.raises(AssertionError, match="reserved"):
        room.take(11)


def test_a_room_is_short_again_when_its_last_branch_has_ended(room):
    room.reserve(8)
    taken = room.take(5)
    assert (room.length, room.used) == (15, 15)
    room.give_back(taken[:2], 0)
    assert (room.length, room.used) == (15, 13)
    room.give_back(taken[2:], 8)
    assert (room.length, room.used) == (10, 10)


def test_a_settled_room_knows_nothing_of_who_was_there(room):
    room.reserve(5)
    room.take(5)
    room.settle(3)
    assert (room.prefix, room.length, room.reserved, room.used) == (3, 3, 0, 3)
    assert room.take(1) == [3]
