"""Say how a confined child process starts and where it finds what it imports: it has no site-packages of its own."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import DecodeCrashed

PROJECT = Path(__file__).parents[1]
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}  # its threads would reserve the address space that is allowed


def child_command(script: Path, order: Mapping[str, Any]) -> list[str]:
    """Return the command that runs a script of ours on an order; raises as ``import_path``.

    Isolated: no user's folders, no site-packages, no byte code left behind.
    """
    return [sys.executable, "-I", "-S", "-B", str(script), json.dumps({"path": import_path(), **order})]


def import_path() -> list[str]:
    """Return the folders of PyAV, numpy and this package; raises ``DecodeCrashed`` when one is not installed."""
    folders = [str(PROJECT)]
    for name in ("av", "numpy"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise DecodeCrashed(f"the package {name} is not installed: pip install {name}")
        folders.append(str(Path(spec.origin).parents[1]))
    return list(dict.fromkeys(folders))
