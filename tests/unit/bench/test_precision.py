"""The bench of precisions compares answers rightly; the ways it compares are really those."""

import time
from types import SimpleNamespace

import pytest
import torch

from bench import precision
from bench.models import Size
from qwen_audio import engine
from qwen_audio.answers import Answer, FinishReason
from training.clips import Clip
from training.takes import TimedWord

TINY = Size(hidden=64, layers=2, heads=2, audio_width=32, audio_layers=1, audio_heads=2)


def _answer(text, ids):
    return Answer(text, tuple(ids), (0.0,) * len(ids), FinishReason.STOP)


def test_answers_ids_and_words_are_counted_beside_others_and_the_truth():
    clip = Clip(words=(TimedWord("red", 10, 40), TimedWord("cup", 50, 90)), frames=100)
    timed = "<|0.10|> red<|0.40|><|0.50|> {}<|0.90|>"
    beside = [[_answer(timed.format("cup"), range(6)), _answer("a", [1, 2])]]
    other = [[_answer(timed.format("cat"), [0, 1, 2, 3, 9, 5]), _answer("a", [1, 2])]]
    assert precision.differences([clip], beside, beside) == {
        "answers_kept": 100,
        "ids_kept": 100,
        "wer": 0,
        "words_moved": 0,
    }
    found = precision.differences([clip], other, beside)
    assert found == {"answers_kept": 50, "ids_kept": 100 * 6 / 8, "wer": 50, "words_moved": 50}


def test_rounded_layers_take_a_quarter_of_the_memory_and_every_part_takes_time():
    full, rounded = (
        precision.costs(precision.Way(torch.float32, int8), TINY, "cpu", chunks=2, seconds=1.0)
        for int8 in (False, True)
    )
    assert rounded["layers_mb"] == pytest.approx(full["layers_mb"] / 4, rel=0.15)
    assert all(value > 0 for found in (full, rounded) for value in found.values())


def test_time_at_work_does_not_count_waiting():
    threads = torch.get_num_threads()
    with precision.working_time():
        assert torch.get_num_threads() == 1
        began = engine.time.monotonic()
        time.sleep(0.3)
        assert engine.time.monotonic() - began < 0.2
    assert torch.get_num_threads() == threads
    assert engine.time is time


def test_every_way_hears_with_its_own_weights(monkeypatch):
    loaded = []

    def load(folder, device, dtype, *, int8):
        loaded.append((dtype, int8))
        raise InterruptedError

    monkeypatch.setattr(precision, "load_model", load)
    for way in precision.WAYS:
        with pytest.raises(InterruptedError):
            precision.hear(way, [SimpleNamespace()], "cpu")
    assert loaded == [
        (torch.float32, False),
        (torch.float32, True),
        (torch.bfloat16, False),
        (torch.bfloat16, True),
    ]
