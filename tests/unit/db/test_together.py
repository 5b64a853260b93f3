"""Threads that wait for the same are served together, and none pays for another."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.exc import OperationalError

from db.together import LOST, MOST_AT_ONCE, Together


class Desk:
    """Doubles numbers, counts how it was asked, and holds the first batch until the others have come."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()

    def __call__(self, items: Sequence[int]) -> Sequence[int | Exception]:
        self.open.wait(5)
        self.batches.append(list(items))
        if any(item < 0 for item in items):
            raise ValueError(f"below 0: {min(items)}")
        if 13 in items:
            raise ConnectionError("the server is gone")
        return [item * 2 if item else KeyError("none") for item in items]


class DriverError(Exception):
    """What a driver raises, with PostgreSQL's code."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def ask_all(desk: Desk, together: Together[int, int], items: Sequence[int]) -> list[int | Exception]:
    """Ask in a thread for each item; the desk opens when all of them wait."""

    def ask(item: int) -> int | Exception:
        try:
            return together(item)
        except (ValueError, KeyError, ConnectionError) as error:
            return error

    with ThreadPoolExecutor(len(items)) as pool:
        answers = [pool.submit(ask, item) for item in items]
        while len(together._waiting) < len(items) - 1:
            threading.Event().wait(0.005)
        desk.open.set()
        return [answer.result(10) for answer in answers]


def test_those_who_wait_are_served_at_once_and_each_gets_its_own_answer() -> None:
    desk = Desk()
    answers = ask_all(desk, Together(desk), [*range(1, 9), 0])
    assert answers[:8] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert isinstance(answers[8], KeyError)
    assert len(desk.batches) == 2


def test_one_that_cannot_be_done_spoils_no_other() -> None:
    desk = Desk()
    answers = ask_all(desk, Together(desk), [1, 2, -3, 4])
    assert [answers[0], answers[1], answers[3]] == [2, 4, 8]
    assert str(answers[2]) == "below 0: -3"


def test_what_everybody_lost_is_said_to_everybody_without_trying_each() -> None:
    desk = Desk()
    answers = ask_all(desk, Together(desk, (ConnectionError,)), [1, 2, 13, 4])
    assert len(desk.batches) == 2
    lost = [answer for answer in answers if isinstance(answer, ConnectionError)]
    assert 13 in desk.batches[0] + desk.batches[1]
    assert len(lost) == max(len(batch) for batch in desk.batches if 13 in batch)


@pytest.mark.parametrize(
    ("sqlstate", "batches"), [("40P01", [1, 4, 1, 1, 1, 1]), ("40001", [1, 4, 1, 1, 1, 1]), ("57P01", [1, 4])]
)
def test_a_batch_that_met_another_is_tried_one_by_one_and_one_whose_server_ended_is_not(
    sqlstate: str, batches: list[int]
) -> None:
    desk = Desk()

    def meets_another(items: Sequence[int]) -> Sequence[int | Exception]:
        answers = desk(items)
        if len(items) > 1:
            raise OperationalError("INSERT", None, DriverError(sqlstate))
        return answers

    together: Together[int, int] = Together(meets_another, LOST)
    answers: list[int | Exception] = []

    def ask(item: int) -> None:
        try:
            answers.append(together(item))
        except OperationalError as error:
            answers.append(error)

    with ThreadPoolExecutor(5) as pool:
        for item in range(1, 6):
            pool.submit(ask, item)
        while len(together._waiting) < 4:
            threading.Event().wait(0.005)
        desk.open.set()
    assert [len(batch) for batch in desk.batches] == batches
    assert sum(isinstance(answer, OperationalError) for answer in answers) == (0 if len(batches) > 2 else 4)


def test_a_lone_item_is_worked_on_at_once() -> None:
    desk = Desk()
    desk.open.set()
    assert Together(desk)(21) == 42
    with pytest.raises(ValueError, match="below 0"):
        Together(desk)(-1)


def test_more_than_one_batch_holds_are_served_in_several() -> None:
    desk = Desk()
    many = range(20, 20 + MOST_AT_ONCE + 10)
    answers = ask_all(desk, Together(desk), many)
    assert answers == [2 * item for item in many]
    assert max(map(len, desk.batches)) == MOST_AT_ONCE
