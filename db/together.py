"""Do for many threads at once what each of them waits for: one transaction for all who have come meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError

MOST_AT_ONCE = 64
LOST = (OperationalError, InterfaceError)  # the connection or the server: trying each alone would not help
# PostgreSQL's deadlock and serialisation failure: operational errors as well.
_IN_THE_WAY = ("40P01", "40001")

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass
class _Waiting(Generic[Item, Answer]):
    item: Item
    answer: Answer | Exception | None = None


class Together(Generic[Item, Answer]):
    """Call ``work`` with the items of all threads that wait for it, and give each thread its own answer.

    Threads queue for a turn. The one that gets it works for all that wait, and the others find theirs done. Nobody
    waits for company: a lone item is worked on at once. Where ``work`` raises, each item is tried alone, so that one
    which cannot be done spoils no other; an error of the kinds ``of_all``, such as a lost connection, is everybody's,
    unless another transaction was in the way.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Answer | Exception]],
        of_all: tuple[type[Exception], ...] = (),
    ) -> None:
        self._work = work
        self._of_all = of_all
        self._turn = threading.Lock()
        self._guard = threading.Lock()
        self._waiting: list[_Waiting[Item, Answer]] = []

    def __call__(self, item: Item) -> Answer:
        """Return the answer to ``item``; raises its exception, or what ``work`` raised for the whole batch."""
        mine: _Waiting[Item, Answer] = _Waiting(item)
        with self._guard:
            self._waiting.append(mine)
        with self._turn:
            while mine.answer is None:  # with many before it, it may be in the second batch
                self._do(self._take())
        if isinstance(mine.answer, Exception):
            raise mine.answer
        return mine.answer

    def _take(self) -> list[_Waiting[Item, Answer]]:
        with self._guard:
            taken, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
        return taken

    def _do(self, batch: Sequence[_Waiting[Item, Answer]]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = self._work([one.item for one in batch])
        except Exception as error:  # noqa: BLE001  # it becomes the answer to the item that causes it
            if len(batch) > 1 and (not isinstance(error, self._of_all) or _was_in_the_way(error)):
                for one in batch:
                    self._do([one])
                return
            answers = [error] * len(batch)
        for one, answer in zip(batch, answers, strict=True):
            one.answer = answer


def _was_in_the_way(error: Exception) -> bool:
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _IN_THE_WAY
