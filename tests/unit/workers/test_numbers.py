"""What a process counts has flat names, and only numbers."""

from __future__ import annotations

from qwen_audio.metrics import Metrics
from workers.numbers import Numbers, engine_numbers


def test_rates_are_of_the_last_five_minutes() -> None:
    now = [0.0]
    numbers = Numbers(clock=lambda: now[0])
    for _ in range(10):
        numbers.add_done("plan")
    now[0] = 60.0
    assert numbers.read() == {"done_plan": 10, "rate_plan": 10.0}
    now[0] = 1_000.0
    numbers.add_done("plan")
    assert numbers.read() == {"done_plan": 11, "rate_plan": 0.2}


def test_an_engine_s_numbers_have_our_prefix_and_are_numbers() -> None:
    found = engine_numbers(Metrics(steps=16, busy_seconds=1.5).flat())
    assert found["engine_steps_total"] == 16
    assert found["engine_busy_seconds_total"] == 1.5
    mixed = {"steps": 3, "model": "mini", "on": True, "none": None, "bad": float("nan")}
    assert engine_numbers(mixed) == {"engine_steps": 3}
