"""The watchdog ends a process whose engine has got stuck, and leaves a slow or idle one alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qwen_audio.metrics import Metrics
from workers.watchdog import CRASH_CODE, Watchdog, is_sticky


def watch(*looks: tuple[float, Metrics]) -> list[bool]:
    """Look at each time (seconds) at what the engine counts then."""
    clock, counts = [0.0], [Metrics()]
    ended: list[int] = []
    dog = Watchdog(lambda: counts[0], 10.0, end=lambda: ended.append(1), now=lambda: clock[0])
    found = []
    for clock[0], counts[0] in looks:
        found.append(dog.look())
        assert len(ended) == sum(found)
    return found


def test_an_engine_without_a_step_for_too_long_is_ended() -> None:
    busy = Metrics(steps=5, live_branches=2)
    assert watch((0, busy), (9, busy), (10, busy)) == [False, False, True]


def test_branches_that_only_wait_are_work_too() -> None:
    assert watch((0, Metrics(waiting_branches=1)), (11, Metrics(waiting_branches=1))) == [False, True]


def test_a_slow_engine_and_an_idle_one_are_left_alone() -> None:
    slow = [(float(9 * n), Metrics(steps=n, live_branches=1)) for n in range(5)]
    assert not any(watch(*slow))
    assert not any(watch((0, Metrics(steps=3)), (1_000, Metrics(steps=3))))
    assert not any(
        watch((0, Metrics(steps=3)), (999, Metrics(steps=3)), (1_000, Metrics(3, live_branches=1)))
    )


@pytest.mark.parametrize(
    ("text", "sticky"),
    [
        ("CUDA error: device-side assert triggered", True),
        ("CUDA error: an illegal memory access was encountered", True),
        ("CUDA error: out of memory", False),
        ("a bug", False),
    ],
)
def test_a_broken_device_is_told_from_short_memory(text: str, sticky: bool) -> None:
    assert is_sticky(RuntimeError(text)) is sticky
    wrapped = ValueError("x")
    wrapped.__cause__ = RuntimeError(text)
    assert is_sticky(wrapped) is sticky


def test_the_process_ends_at_once_with_its_own_code() -> None:
    code = (
        "import threading, time; from qwen_audio.metrics import Metrics; from workers.watchdog import Watchdog\n"
        "Watchdog(lambda: Metrics(live_branches=1), 0.2).start(); time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert ended.returncode == CRASH_CODE
