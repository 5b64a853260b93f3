"""The tests for a GPU run on a machine that has nothing but pytest and what the model needs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_the_tests_for_a_gpu_want_no_plugin_of_pytest():
    command = [sys.executable, "-m", "pytest", "--noconftest", "--collect-only", "-q", "tests/gpu"]
    without = ["-p", "no:timeout", "-p", "no:xdist", "-p", "no:cacheprovider"]
    told = subprocess.run(
        [*command, *without],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "test_engine_on_gpu.py" in told.stdout
