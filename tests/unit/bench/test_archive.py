from __future__ import annotations

from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

import bench.archive


@pytest.fixture
def arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    for name in ("EARWITNESS_DATA_DIR", "EARWITNESS_FILE_ROOTS"):
        monkeypatch.setenv(name, "")  # what the bench sets ends with the test
    return Namespace(objects=1_500, stub_hours=1.0, folder=tmp_path)


def test_a_folder_is_expanded_and_measured(arguments: Namespace) -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:  # its memory is measured
        found = alone.submit(bench.archive.folder, arguments).result()
    assert found["accept_s"] < 1.0
    assert found["per_s"] > 0
    assert found["growth_mb"] < 150


def test_a_long_recording_is_planned_in_chunks_that_tile_it(arguments: Namespace) -> None:
    planned: dict[str, Any] = bench.archive.plan_stub(arguments)  # fails unless the chunks tile it
    assert planned["chunks"] >= 120
    assert planned["peak_mb"] > 0
    assert planned["status_ms"] > 0


def test_the_last_line_has_the_figures_that_were_promised() -> None:
    one = {"accept_s": 0.1, "per_s": 1.0, "growth_mb": 2.0, "peak_mb": 3.0, "status_ms": 4.0}
    summary = bench.archive._summary(dict.fromkeys(bench.archive.PARTS, one))
    assert list(summary) == [
        "accept_s", "expand_per_s", "expand_s3_per_s", "rss_growth_mb", "plan_100h_peak_mb", "plan_10h_peak_mb",
        "status_ms",
    ]  # fmt: skip
