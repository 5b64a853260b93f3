"""Decisions of the schedule, with plain values and no model."""

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.errors import EngineOutOfMemory, NoRoom
from qwen_audio.rooms import Shelf
from qwen_audio.rotary import ntk_alpha
from qwen_audio.scheduling import Schedule, ntk_factor
from qwen_audio.tuning import Tuning


@dataclass(eq=False)
class Chunk:
    positions: int = 100
    is_closed: bool = False


@dataclass(eq=False)
class Ask:
    prompt: tuple[int, ...] = (1, 2)
    cells: int = 10


@dataclass(eq=False)
class Request:
    prefix: Chunk
    ask: Ask = field(default_factory=Ask)


class Heap:
    """Memory for so many rooms in all, given in slabs."""

    def __init__(self, rooms=1000):
        self.rooms = rooms
        self.slabs = []

    def add(self, cells, rooms):
        got = min(rooms, self.rooms - sum(size for _, size in self.slabs))
        self.slabs.append((cells, got))
        return len(self.slabs) - 1, got


def _schedule(places=2, cells=200, long_rooms=1, step_positions=1000, trained=None, memory=None):
    shelves = [Shelf(long_rooms, 1000), Shelf(places, cells)]
    return Schedule(shelves, step_positions, trained, memory or Heap())


def _started(plan):
    return [request for request, _ in plan.starts]


def test_the_branches_of_a_chunk_share_one_room_and_late_ones_too():
    schedule, chunk = _schedule(), Chunk()
    first, second, late = Request(chunk), Request(chunk), Request(chunk)
    plan = schedule.plan([first, second])
    assert _started(plan) == [first, second]
    assert [kept.prefix for kept in plan.fill] == [chunk]
    plan = schedule.plan([late])
    assert _started(plan) == [late]
    assert plan.fill == []


def test_chunks_beyond_the_places_wait_until_one_is_closed_and_its_branches_have_ended():
    schedule = _schedule(places=1)
    one, other = Request(Chunk()), Request(Chunk())
    ((_, kept),) = schedule.plan([one, other]).starts
    one.prefix.is_closed = True
    schedule.sweep()
    assert _started(schedule.plan([other])) == []
    schedule.end(kept, [], one.ask.cells)
    schedule.sweep()
    assert _started(schedule.plan([other])) == [other]


def test_new_positions_stay_within_the_budget_of_a_step_and_something_always_starts():
    schedule = _schedule(places=8, step_positions=250)
    requests = [Request(Chunk()) for _ in range(4)]
    assert _started(schedule.plan(requests)) == requests[:2]  # 102 positions each
    assert _started(schedule.plan(requests[2:])) == requests[2:]
    huge = Request(Chunk(positions=900))
    assert _started(schedule.plan([huge])) == [huge]


def test_a_long_prompt_counts_against_the_budget_and_is_not_overtaken():
    schedule = _schedule(places=8, step_positions=150)
    chunk = Chunk()
    first, long, short = Request(chunk), Request(chunk, Ask(prompt=(1,) * 60, cells=60)), Request(chunk)
    assert _started(schedule.plan([first, long, short])) == [first]
    assert _started(schedule.plan([long, short])) == [long, short]


def test_a_branch_waits_for_cells_and_is_not_overtaken_in_its_room():
    schedule, chunk = _schedule(cells=130), Chunk()
    large = [Request(chunk, Ask(cells=25)) for _ in range(2)]
    small = Request(chunk, Ask(cells=5))
    elsewhere = Request(Chunk())
    plan = schedule.plan([*large, small, elsewhere])
    assert _started(plan) == [large[0], elsewhere]
    schedule.end(plan.starts[0][1], [], 25)
    assert _started(schedule.plan([large[1], small])) == [large[1], small]


def test_what_no_common_room_holds_goes_to_a_long_one_and_the_prefix_is_computed_there_again():
    schedule, chunk = _schedule(cells=150), Chunk()
    short, long = Request(chunk), Request(chunk, Ask(cells=300))
    plan = schedule.plan([short, long])
    assert [kept.room.cells for kept in plan.fill] == [150, 1000]
    assert not schedule.fits(Request(chunk, Ask(cells=901)))
    assert schedule.fits(Request(chunk, Ask(cells=900)))


def test_a_prefix_is_shared_only_where_the_ntk_factor_agrees():
    schedule = _schedule(cells=200, long_rooms=3, trained=110)
    chunk = Chunk(positions=100)
    inside, beyond, too = (Request(chunk, Ask((1,) * size, 101)) for size in (10, 11, 20))
    plan = schedule.plan([inside, beyond, too])
    assert [kept.factor for kept in plan.fill] == [1, 3]
    assert [kept.factor for _, kept in plan.starts] == [1, 3, 3]


def test_the_factor_is_the_models_own():
    lengths = torch.arange(1, 8193)
    expected = ntk_alpha(lengths, QwenAudioConfig()).tolist()
    assert [ntk_factor(length, 2048) for length in lengths.tolist()] == expected
    assert ntk_factor(8192, None) == 1


def test_an_idle_prefix_gives_up_its_long_room_but_a_live_one_does_not():
    schedule = _schedule(cells=50)
    idle, next_one, last = (Request(Chunk(positions=100)) for _ in range(3))
    ((_, kept),) = schedule.plan([idle]).starts
    assert _started(schedule.plan([next_one])) == []  # it is live
    schedule.end(kept, [], 10)
    assert _started(schedule.plan([next_one, last])) == [next_one]
    again = Request(idle.prefix)
    assert _started(schedule.plan([again])) == []


def test_a_dropped_prefix_is_computed_again():
    schedule, chunk = _schedule(places=1), Chunk()
    (kept,) = schedule.plan([Request(chunk)]).fill
    schedule.drop(kept)
    assert [kept.prefix for kept in schedule.plan([Request(chunk)]).fill] == [chunk]


def test_rooms_get_memory_when_they_are_needed_in_slabs_that_double():
    memory = Heap()
    schedule = _schedule(places=20, step_positions=10**6, memory=memory)
    assert (schedule.rooms, schedule.cells) == (0, 0)
    schedule.plan([Request(Chunk())])
    assert (schedule.rooms, schedule.cells) == (4, 800)
    schedule.plan([Request(Chunk()) for _ in range(4)])
    assert schedule.rooms == 8
    schedule.plan([Request(Chunk()) for _ in range(30)])
    assert [size for _, size in memory.slabs] == [4, 4, 8, 4]
    assert schedule.cells == 20 * 200


def test_a_room_that_was_used_is_taken_before_another_gets_memory():
    memory = Heap()
    schedule = _schedule(places=20, memory=memory)
    for _ in range(9):
        request = Request(Chunk())
        ((_, kept),) = schedule.plan([request]).starts
        assert (kept.room.slab, kept.room.place) == (
            0,
            0,
        )  # the lowest: one call attends to what lies together
        schedule.end(kept, [], request.ask.cells)
        request.prefix.is_closed = True
        schedule.sweep()
    assert schedule.rooms == 4


def test_where_memory_is_short_an_idle_prefix_gives_up_its_room_and_others_wait():
    schedule = _schedule(places=20, memory=Heap(2))
    first, second, third, fourth = (Request(Chunk()) for _ in range(4))
    plan = schedule.plan([first, second, third])
    assert _started(plan) == [first, second]
    assert _started(schedule.plan([third])) == []
    schedule.end(plan.starts[0][1], [], 10)
    assert _started(schedule.plan([third, fourth])) == [third]
    assert (schedule.rooms, schedule.evictions) == (2, 1)


def test_no_memory_for_a_single_room_is_said_instead_of_waiting_for_ever():
    with pytest.raises(EngineOutOfMemory, match="200 positions"):
        _schedule(memory=Heap(0)).plan([Request(Chunk())])
    schedule = _schedule(places=4, cells=150, memory=Heap(4))
    schedule.plan([Request(Chunk())])
    long, short = Request(Chunk(), Ask(cells=300)), Request(Chunk())
    plan = schedule.plan([long, short])  # it alone is refused
    ((refused, error),) = plan.refused
    assert refused is long
    assert isinstance(error, NoRoom)
    assert "1000 positions" in str(error)
    assert [request for request, _ in plan.starts] == [short]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 400), st.integers(1, 300), st.integers(1, 20)), min_size=1, max_size=30
    ),
    st.integers(1, 12),
    st.integers(50, 1500),
    st.integers(13, 20),
)
def test_everything_that_fits_starts_in_the_end_and_every_cell_comes_back(asked, places, budget, memory):
    schedule = Schedule([Shelf(places, 300), Shelf(1, 800)], budget, 512, Heap(memory))
    waiting = [Request(Chunk(size), Ask((1,) * prompt, prompt + cells)) for size, cells, prompt in asked]
    waiting += [Request(request.prefix, Ask()) for request in waiting[::2]]
    growing = []
    for _ in range(10 * len(waiting)):
        plan = schedule.plan(waiting)
        for kept in plan.fill:
            assert kept.room.length == kept.prefix.positions
        for request, kept in plan.starts:
            assert kept.prefix is request.prefix
            growing.append((request, kept, kept.room.take(request.ask.cells)))
            waiting.remove(request)
        taken_rooms = [kept.room for kept in schedule._kept.values()]
        assert len({(room.slab, room.place) for room in taken_rooms}) == len(taken_rooms)
        held = [(kept.room, cell) for _, kept, cells in growing for cell in cells]
        assert len(set(held)) == len(held)  # nobody shares a cell
        assert all(
            kept.prefix.positions <= cell < kept.room.cells for _, kept, cells in growing for cell in cells
        )
        if growing:
            request, kept, cells = growing.pop(0)
            schedule.end(kept, cells, request.ask.cells)
        elif not waiting:
            break
    assert waiting == []
    assert all(kept.room.reserved == 0 for kept in schedule._kept.values())
    assert schedule.used_cells == sum(kept.prefix.positions for kept in schedule._kept.values())


@pytest.mark.parametrize("name", ["step_positions", "call_positions", "call_frames", "cells", "long_rooms"])
def test_a_tuning_without_room_for_anything_is_refused(name):
    with pytest.raises(ValueError, match=name):
        Tuning(**{name: 0})


def test_the_schedule_and_what_it_needs_do_without_torch():
    modules = (
        "qwen_audio.scheduling, qwen_audio.packing, qwen_audio.strand, qwen_audio.metrics, qwen_audio.chatml"
    )
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
