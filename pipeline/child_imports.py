"""Say where a confined child process finds what it imports: it has no site-packages of its own."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pipeline.errors import DecodeCrashed

PROJECT = Path(__file__).parents[1]


def import_path() -> list[str]:
    """Return the folders of PyAV, numpy and this package; raises ``DecodeCrashed`` when one is not installed."""
    folders = [str(PROJECT)]
    for name in ("av", "numpy"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise DecodeCrashed(f"the package {name} is not installed: pip install {name}")
        folders.append(str(Path(spec.origin).parents[1]))
    return list(dict.fromkeys(folders))
