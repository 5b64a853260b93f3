"""Steps of fixed shapes give what exact ones give, and a replay is used only where it does so too."""

import logging

import pytest
import torch

from qwen_audio import static_step
from qwen_audio.attending import Group
from qwen_audio.engine import Engine
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.plain_engine import PlainEngine
from qwen_audio.rooms import Room
from qwen_audio.scheduling import Kept
from qwen_audio.static_step import Shape, StaticSteps, shape_of
from qwen_audio.strand import Row
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tuning import Tuning

WORDS = Prompt((Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0)))
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
SCENE = Prompt((Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.KEYWORD, Tag.EN, Tag.NO_TIMESTAMPS, Tag.SCENE))
NAMES = ("syn_30s.wav", "syn_1s005.wav", "syn_3s217.wav", "syn_8s.wav", "tiny_480.wav", "tiny_640.wav")
STATIC = Tuning(decode="static")
SECONDS = 60


class Tape:
    """Stands for a graph: a replay computes from the same buffers and fills the same results."""

    def __init__(self, off=0.0, error=None):
        self.off, self.error, self.recorded = off, error, 0

    def record(self, work):
        if self.error is not None:
            raise self.error
        self.recorded += 1
        best, ids = work()

        def replay():
            new_best, new_ids = work()
            best.copy_(new_best + self.off)
            ids.copy_(new_ids)
            return best, ids

        return replay


def _group(place, rows, prefix=10, length=300, cells=2048, slab=0):
    room = Room(0, place, cells, slab=slab)
    room.prefix, room.length = prefix, length
    kept = Kept(None, 1, room)
    return Group(kept, [Row(7, 12, [prefix], 1, is_asked=True)] * rows)


def test_shapes_are_few_and_as_small_as_they_can_be():
    assert shape_of(0, [_group(0, 1)], 4) == Shape(0, rooms=1, lines=1, length=384, cells=2048)
    assert shape_of(3, [_group(2, 3), _group(0, 1)], 8) == Shape(3, rooms=4, lines=4, length=384, cells=2048)
    assert shape_of(0, [_group(4, 1)], 6).rooms == 6  # there are no more
    assert shape_of(0, [_group(0, 1, length=256)], 4).length == 256
    assert shape_of(0, [_group(0, 1, length=257, cells=300)], 4).length == 300
    met = {
        shape_of(0, [_group(place, rows, length=length)], 16)
        for place in range(16)
        for rows in range(1, 9)
        for length in range(20, 2048, 10)
    }
    assert len(met) == 5 * 4 * 16


class Slabs:
    """A store of one slab of sixteen rooms."""

    def slab(self, number):
        return torch.empty(2, 1, 16, 1, 1, 1)


def test_a_step_that_would_be_mostly_idle_is_not_taken(monkeypatch):
    steps = StaticSteps(None, Slabs(), torch.device("cpu"))
    assert steps.shapes([_group(0, 1)]) is not None
    assert steps.shapes([_group(15, 1)]) is not None  # sixteen lines cost little
    assert steps.shapes([_group(0, 1), _group(15, 8)]) is None  # 128 lines for nine
    assert steps.shapes([_group(place, 8) for place in range(8)]) is not None
    monkeypatch.setattr(static_step, "MOST_SHAPES", 0)
    assert steps.shapes([_group(0, 1)]) is None


def _ask_all(engine, clip):
    prefixes = [engine.open(clip(name)) for name in NAMES]
    limits = (20, 7, 3)
    futures = [
        prefix.branch(prompt, limit)
        for prefix in prefixes
        for prompt, limit in zip((WORDS, CAPTION, SCENE), limits, strict=True)
    ]
    return [future.result(SECONDS) for future in futures]


@pytest.fixture(scope="module", params=["tiny", "mini"])
def checkpoint(request):
    """A model, its tokenizer, and what the plain engine answers."""
    model = request.getfixturevalue(f"{request.param}_model")
    tokenizer = request.getfixturevalue(f"{request.param}_tokenizer")
    with PlainEngine(model, tokenizer) as plain:
        return model, tokenizer, _ask_all(plain, request.getfixturevalue("clip"))


def _same(answers, expected):
    for answer, other in zip(answers, expected, strict=True):
        assert answer.ids == other.ids
        assert answer.logprobs == pytest.approx(other.logprobs, abs=2e-4)


@pytest.fixture
def taken(monkeypatch):
    """Counts the steps of fixed shapes."""
    runs, run = [], StaticSteps.run
    monkeypatch.setattr(StaticSteps, "run", lambda self, *args: (runs.append(args[1]), run(self, *args))[1])
    return runs


def test_steps_of_fixed_shapes_answer_as_the_plain_engine(checkpoint, clip, taken):
    model, tokenizer, expected = checkpoint
    with Engine(model, tokenizer, tuning=STATIC) as engine:
        _same(_ask_all(engine, clip), expected)
    assert len(taken) > 10
    assert max(map(len, taken)) == 2  # there are six rooms in two slabs


def test_replayed_steps_answer_as_the_plain_engine(checkpoint, clip):
    model, tokenizer, expected = checkpoint
    tape = Tape()
    with Engine(model, tokenizer, tuning=STATIC) as engine:
        engine._static._recorder = tape
        for _ in range(2):
            _same(_ask_all(engine, clip), expected)
            for prefix in list(engine._open):
                prefix.close()
        assert engine._static.replays > tape.recorded > 0
        assert tape.recorded == len(engine._static._steps)


@pytest.mark.parametrize(
    ("tape", "said"),
    [
        (Tape(off=0.5), "a replay gave another result"),
        (Tape(error=RuntimeError("operation not permitted when stream is capturing")), "stream is capturing"),
        (Tape(error=torch.OutOfMemoryError("CUDA out of memory")), "out of memory"),
    ],
)
def test_what_cannot_be_recorded_or_replays_something_else_is_computed(checkpoint, clip, tape, said, caplog):
    model, tokenizer, expected = checkpoint
    with Engine(model, tokenizer, tuning=STATIC) as engine, caplog.at_level(logging.WARNING):
        engine._static._recorder = tape
        _same(_ask_all(engine, clip), expected)
        assert engine._static.replays == 0
    assert said in caplog.text
    assert caplog.text.count("computed and not replayed from now on") == 1


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_branch_gets_the_very_same_numbers_in_any_company_of_its_shape(
    mini_folder, mini_tokenizer, clip, dtype, taken
):
    """Same shapes, other neighbours: not one bit of the step differs, in half precision neither."""
    model = QwenAudioForConditionalGeneration.from_pretrained(mini_folder, dtype=dtype)
    found, shapes = [], []
    for others in (("syn_3s217.wav", "tiny_480.wav"), ("tiny_640.wav", "syn_1s005.wav")):
        taken.clear()
        with Engine(model, mini_tokenizer, tuning=STATIC) as engine:
            one = engine.open(clip("syn_3s217.wav"))
            one.branch(WORDS, 1).result(SECONDS)  # it has the first room
            neighbours = [engine.open(clip(name)) for name in others]
            with engine._changed:  # all begin in the same step
                asked = [one.branch(WORDS, 5), *(prefix.branch(CAPTION, 8) for prefix in neighbours)]
            answers = [future.result(SECONDS) for future in asked]
        found.append(answers)
        shapes.append(list(taken))
    (first, *ours), (second, *theirs) = found
    assert shapes[0][:4] == shapes[1][:4]  # all steps of the first branch but its prompt's
    assert len(first.ids) == 5
    assert first.ids == second.ids
    assert first.logprobs == second.logprobs
    assert [answer.logprobs for answer in ours] != [answer.logprobs for answer in theirs]


def test_without_cuda_nothing_is_replayed_and_that_is_said(tiny_model, tiny_tokenizer, clip, caplog):
    with (
        caplog.at_level(logging.WARNING),
        Engine(tiny_model, tiny_tokenizer, tuning=Tuning(decode="graph")) as engine,
    ):
        assert engine.open(clip("tiny_480.wav")).branch(CAPTION, 3).result(SECONDS).ids
        assert engine._static is None
    assert "only CUDA records" in caplog.text


def test_features_may_be_computed_where_the_model_is(tiny_model, tiny_tokenizer, clip):
    answers = []
    for on_device in (False, True):
        with Engine(tiny_model, tiny_tokenizer, tuning=Tuning(device_features=on_device)) as engine:
            prefix = engine.open(clip("syn_3s217.wav"))
            assert (prefix.clips[0].features is None) == on_device
            answers.append(prefix.branch(WORDS, 9).result(SECONDS))
    assert answers[0].ids == answers[1].ids
    assert answers[0].logprobs == answers[1].logprobs
