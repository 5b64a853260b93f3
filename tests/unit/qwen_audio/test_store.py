"""The store makes room as memory allows, says when it does not, and answers stay the same."""

import gc
import logging
import weakref

import pytest
import torch

from qwen_audio import store as module
from qwen_audio.configuration import QwenAudioConfig
from qwen_audio.engine import Engine
from qwen_audio.errors import EngineOutOfMemory, NoRoom
from qwen_audio.plain_engine import PlainEngine
from qwen_audio.store import Store, fitting_places
from qwen_audio.tags import Prompt, Tag
from qwen_audio.tuning import Tuning

CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
NAMES = ("syn_30s.wav", "syn_8s.wav", "syn_3s217.wav", "syn_1s005.wav", "tiny_480.wav", "tiny_640.wav")
SECONDS = 60
CPU = torch.device("cpu")


def _store(model, spare=0, free=lambda device: None):
    return Store(model.config, torch.bfloat16, CPU, spare, free)


def test_a_room_takes_what_the_sizes_say(tiny_model):
    store = _store(tiny_model)
    number, rooms = store.add(100, 3)
    slab = store.slab(number)
    assert (number, rooms) == (0, 3)
    assert slab.shape == (2, 2, 3, 4, 101, 16)  # and a cell that belongs to nobody
    assert slab.nbytes == 3 * store.room_bytes(100)
    assert store.add(50, 1) == (1, 1)
    assert store.slab(0) is slab  # it never moves


def test_no_more_rooms_are_made_than_memory_is_free_beside_what_is_spared(tiny_model, caplog):
    room = _store(tiny_model).room_bytes(100)
    free = {"bytes": 5 * room + 7}
    store = _store(tiny_model, spare=2 * room, free=lambda device: free["bytes"])
    with caplog.at_level(logging.WARNING):
        assert store.add(100, 8) == (0, 3)
        assert store.add(100, 1)[1] == 1
        free["bytes"] = 3 * room - 1
        assert store.add(100, 8)[1] == 0
    assert caplog.text.count("memory is short") == 1  # once is enough
    assert "8 more rooms were wanted for the cache and 3 could be made" in caplog.text
    free["bytes"] = 4 * room
    assert store.add(100, 8)[1] == 2  # it has become free


class Card:
    """A device with memory for so many rooms, whatever it says is free."""

    def __init__(self):
        self.rooms = 0
        self.asked = []

    def make(self, shape, **options):
        self.asked.append(shape[2])
        if shape[2] > self.rooms:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.rooms -= shape[2]
        return torch.empty(shape, **options).zero_()


@pytest.fixture
def card(monkeypatch):
    card, zeros = Card(), torch.zeros

    def make(*shape, **options):
        is_slab = isinstance(shape[0], tuple) and len(shape[0]) == 6
        return card.make(*shape, **options) if is_slab else zeros(*shape, **options)

    monkeypatch.setattr(module.torch, "zeros", make)
    return card


def test_memory_that_is_short_all_the_same_makes_the_slab_smaller(tiny_model, card, caplog):
    store = _store(tiny_model)
    card.rooms = 2
    with caplog.at_level(logging.WARNING):
        assert store.add(100, 8) == (0, 2)
    assert card.asked == [8, 4, 2]
    assert "2 could be made" in caplog.text
    card.rooms = 0
    assert store.add(100, 2)[1] == 0
    card.rooms = 9
    assert store.add(100, 2)[1] == 0  # an allocation that fails is slow: it is not tried again
    assert card.asked == [8, 4, 2, 2, 1]


def test_another_error_is_no_short_memory(tiny_model, monkeypatch):
    monkeypatch.setattr(module.torch, "zeros", lambda *shape, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _store(tiny_model).add(100, 1)


@pytest.mark.parametrize("together", [False, True])
def test_few_rooms_change_no_answer(tiny_model, tiny_tokenizer, clip, card, together):
    with PlainEngine(tiny_model, tiny_tokenizer) as plain:
        expected = [plain.open(clip(name)).branch(CAPTION, 9).result(SECONDS).ids for name in NAMES]
    card.rooms = 3
    with Engine(tiny_model, tiny_tokenizer, tuning=Tuning(together=together)) as engine:
        prefixes = [engine.open(clip(name)) for name in NAMES]
        futures = [prefix.branch(CAPTION, 9) for prefix in prefixes]
        assert [future.result(SECONDS).ids for future in futures] == expected
        again = [prefix.branch(CAPTION, 9) for prefix in prefixes]
        assert [future.result(SECONDS).ids for future in again] == expected
        metrics = engine.metrics()
    assert (metrics.cache_rooms, metrics.cache_positions) == (3, 3 * 2048)
    assert metrics.evictions >= len(NAMES)


def test_a_prefix_too_long_for_the_memory_that_is_left_fails_alone(tiny_model, tiny_tokenizer, clip, card):
    card.rooms = 4
    long = Prompt(("bab el dib " * 700,))
    with Engine(tiny_model, tiny_tokenizer) as engine:
        prefix = engine.open(clip("syn_1s005.wav"))
        assert prefix.branch(CAPTION, 3).result(SECONDS).ids
        with pytest.raises(NoRoom, match="8192 positions"):
            prefix.branch(long, 3).result(SECONDS)
        assert prefix.branch(CAPTION, 3).result(SECONDS).ids  # the engine goes on


def test_an_engine_that_has_ended_gives_its_memory_back_at_once(tiny_model, tiny_tokenizer, clip):
    gc.collect()
    gc.disable()
    try:
        with Engine(tiny_model, tiny_tokenizer) as engine:
            prefix = engine.open(clip("syn_1s005.wav"))
            prefix.branch(CAPTION, 3).result(SECONDS)
            slab = weakref.ref(engine._forward._store.slab(0))
            assert slab() is not None
        del engine, prefix
        assert slab() is None
    finally:
        gc.enable()


def test_an_engine_without_memory_for_one_room_ends_and_says_so(tiny_model, tiny_tokenizer, clip, card):
    card.rooms = 0
    with Engine(tiny_model, tiny_tokenizer) as engine:
        future = engine.open(clip("syn_1s005.wav")).branch(CAPTION, 3)
        with pytest.raises(EngineOutOfMemory, match="2048 positions"):
            future.result(SECONDS)


def test_an_engine_gets_memory_for_the_rooms_that_it_needs(tiny_model, tiny_tokenizer, clip):
    with Engine(tiny_model, tiny_tokenizer, places=16) as engine:
        assert engine.metrics().cache_rooms == 0
        with engine.open(clip("syn_1s005.wav")) as prefix:
            prefix.branch(CAPTION, 3).result(SECONDS)
        prefixes = [engine.open(clip("syn_1s005.wav")) for _ in range(5)]
        for future in [prefix.branch(CAPTION, 3) for prefix in prefixes]:
            future.result(SECONDS)
        assert engine.metrics().cache_rooms in (4, 8)  # the step may have begun before all had come
        assert engine.metrics().places == 16


@pytest.mark.parametrize(
    ("free_gb", "places"), [(None, 8), (68.2, 32), (25.7, 12), (8.4, 1), (0.1, 1)]
)  # beside the weights: on a CPU, and on cards of 80, 40 and 24 GB, and on a full one
def test_a_card_gets_as_many_places_as_its_memory_has_room_for(free_gb, places):
    free = None if free_gb is None else int(free_gb * 1e9)
    device = torch.device("cpu" if free is None else "cuda")
    assert fitting_places(QwenAudioConfig(), torch.bfloat16, device, lambda _: free) == places


def test_loading_takes_what_is_asked_or_what_fits(tiny_folder, monkeypatch):
    with Engine.load(tiny_folder, device="cpu") as engine:
        assert engine.places == 8
    monkeypatch.setattr("qwen_audio.front.fitting_places", lambda *_: 5)
    with Engine.load(tiny_folder, device="cpu", times=2) as engine:
        assert engine.places == 10
    with Engine.load(tiny_folder, device="cpu", places=3, times=2) as engine:
        assert engine.places == 6
