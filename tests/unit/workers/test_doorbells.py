"""Doorbells: a message says a kind and nothing else, and a dead broker delays nobody."""

from __future__ import annotations

import time

from db.states import PassKind
from settings import Settings
from workers.celery_app import RING, make_app
from workers.doorbell import MOST_RINGS, CeleryDoorbell, SilentDoorbell, open_doorbell
from workers.queues import queue_name


def test_a_message_wakes_only_for_kinds_that_exist() -> None:
    rung: list[PassKind] = []
    ring = make_app("memory://", rung.append).tasks[RING]
    for kind in (
        "plan",
        "shell",
        None,
        {"kind": "plan"},
        ["plan"],
        7,
        "../../etc/passwd",
        "understand",
    ):
        ring(kind)
    assert rung == [PassKind.PLAN, PassKind.UNDERSTAND]


def test_celery_is_a_doorbell_and_no_more() -> None:
    conf = make_app("memory://").conf
    assert conf.accept_content == ["json"]
    assert conf.result_backend is None
    assert conf.task_ignore_result is True
    assert conf.task_acks_late is False
    assert conf.worker_enable_remote_control is False
    assert conf.task_create_missing_queues is False


def test_a_dead_broker_neither_raises_nor_waits() -> None:
    doorbell = CeleryDoorbell("redis://127.0.0.1:1/0")
    started = time.monotonic()
    for _ in range(100):
        doorbell.ring(PassKind.PLAN, count=50)
    assert time.monotonic() - started < 0.5
    doorbell.close()
    assert time.monotonic() - started < 5.0


def test_one_event_rings_only_so_often() -> None:
    doorbell = CeleryDoorbell.__new__(CeleryDoorbell)
    from queue import Queue

    doorbell._waiting = Queue(maxsize=1_000)
    doorbell.ring(PassKind.PLAN, count=10_000)
    assert doorbell._waiting.qsize() == MOST_RINGS


def test_without_a_broker_nobody_is_rung() -> None:
    assert isinstance(open_doorbell(Settings()), SilentDoorbell)


def test_every_model_has_a_queue_of_its_own() -> None:
    names = {queue_name(PassKind.UNDERSTAND, model) for model in ("tiny", "a/b", "a-b", "/models/a b")}
    assert len(names) == 4
    assert queue_name(PassKind.PLAN) == "earwitness.plan"
    assert all(name.isascii() and " " not in name and "/" not in name for name in names)
