"""What runs without a model starts without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

FREE = (
    "api.app",
    "cli.main",
    "db.upgrade",
    "pipeline.ingest",
    "pipeline.stitching",
    "workers.celery_app",
    "workers.chat",
    "workers.cpu",
    "workers.gpu",
)


@pytest.mark.parametrize("module", FREE)
def test_importing_it_does_not_import_torch(module: str) -> None:
    code = (
        f"import sys, {module}; "
        "print([name for name in ('torch', 'transformers') if name in sys.modules], end='')"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "[]"
