"""Find the checkpoint that comes with the package; free of torch."""

from __future__ import annotations

from pathlib import Path

MINI = "mini"
MINI_FOLDER = Path(__file__).parent / "mini"


def find_bundled(name: str) -> Path | None:
    """Return the folder of the bundled checkpoint of this name, None when there is none."""
    return MINI_FOLDER if name == MINI and (MINI_FOLDER / "config.json").is_file() else None
