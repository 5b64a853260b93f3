import gc
import weakref

import pytest
import torch

from qwen_audio.errors import EngineOutOfMemory
from qwen_audio.faults import Halver


class Work:
    """Records what succeeds; fails for batches above a size, and for certain items."""

    def __init__(self, most=99, bad=(), error=None):
        self.most, self.bad, self.done, self.failed = most, bad, [], {}
        self.error = error or torch.OutOfMemoryError("CUDA out of memory")

    def __call__(self, items):
        if len(items) > self.most:
            raise self.error
        if any(item in self.bad for item in items):
            raise RuntimeError("kernel failure")
        self.done.append(list(items))

    def fail(self, item, error):
        self.failed[item] = error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_short_memory_halves_the_batch_and_the_next_one_begins_smaller(error):
    halver, work = Halver(), Work(most=3, error=error)
    halver.run(range(8), work, work.fail)
    assert work.done == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert (halver.halvings, halver.most) == (3, 2)
    work.done.clear()
    halver.run(range(5), work, work.fail)
    assert work.done == [[0, 1], [2, 3], [4]]
    assert halver.halvings == 3


def test_memory_that_is_too_short_for_one_item_ends_it_all():
    halver, work = Halver(), Work(most=0)
    with pytest.raises(EngineOutOfMemory, match="out of memory") as ended:
        halver.run(range(2), work, work.fail)
    assert (ended.value.code, ended.value.retryable) == ("engine_out_of_memory", True)
    assert not work.failed


def test_another_error_reaches_only_who_causes_it_and_the_next_batch_is_as_large_as_before():
    halver, work = Halver(), Work(bad=(2,))
    halver.run(range(4), work, work.fail)
    assert sorted(item for done in work.done for item in done) == [0, 1, 3]
    assert list(work.failed) == [2]
    assert (halver.most, halver.halvings) == (None, 0)


def test_the_tensors_of_a_failed_attempt_are_gone_before_the_next():
    kept = []

    def work(items):
        tensor = torch.zeros(3)
        kept.append(weakref.ref(tensor))
        if len(items) > 1:
            raise torch.OutOfMemoryError
        gc.collect()
        assert kept[0]() is None

    Halver().run(range(2), work, lambda item, error: pytest.fail(f"{item}: {error!r}"))
    assert len(kept) == 3
