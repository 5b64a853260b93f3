"""Run a batch so that an error reaches only who causes it, and short memory only makes the batch smaller."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from qwen_audio.errors import EngineOutOfMemory

T = TypeVar("T")


class Halver:
    """Runs work on items together, and in halves when that fails.

    ``most`` is how many items go together: after short memory it stays at half of what was too many, because the
    next step would run into the same wall. ``halvings`` counts how often that was.
    """

    def __init__(self) -> None:
        self.most: int | None = None
        self.halvings = 0

    def run(
        self, items: Sequence[T], work: Callable[[Sequence[T]], None], fail: Callable[[T, Exception], None]
    ) -> None:
        """Do ``work``, which must leave nothing half done; an item that fails alone is given to ``fail``.

        Raises ``EngineOutOfMemory`` when a single item is too much.
        """
        size = self.most or max(len(items), 1)
        for begin in range(0, len(items), size):
            self._try(items[begin : begin + size], work, fail)

    def _try(
        self, items: Sequence[T], work: Callable[[Sequence[T]], None], fail: Callable[[T, Exception], None]
    ) -> None:
        try:
            work(items)
            return
        except Exception as error:  # noqa: BLE001  # it becomes the result of the item that causes it
            is_memory = is_out_of_memory(error)
            if len(items) == 1 and not is_memory:
                fail(items[0], error)
                return
            if len(items) == 1:
                raise EngineOutOfMemory(f"a single item of a batch is too much: {error}") from None
        # Out here the error is gone, and with its traceback the tensors of the attempt.
        if is_memory:
            self.halvings += 1
            self.most = len(items) // 2
            release_memory()
        half = len(items) // 2
        for part in (items[:half], items[half:]):
            self._try(part, work, fail)


def is_out_of_memory(error: Exception) -> bool:
    """Say whether memory was short, on a GPU or on the CPU, whose allocator raises a plain ``RuntimeError``."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def release_memory() -> None:
    """Give back what nobody holds any more, also what torch keeps for later."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
