"""Print the map of the code: each module with the first sentence of its docstring."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "qwen_audio",
    "pipeline",
    "storage",
    "db",
    "settings",
    "samples",
    "webhooks",
    "workers",
    "api",
    "cli",
    "training",
    "bench",
)


def modules() -> Iterator[tuple[str, str]]:
    """Yield (path, first sentence) of every module, package by package."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "versions" not in path.parts:
                yield str(path.relative_to(ROOT)), first_sentence(path)


def first_sentence(path: Path) -> str:
    """Return what a module says it owns."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def main() -> None:
    """Print all of them."""
    for path, sentence in modules():
        print(f"{path:40} {sentence}")


if __name__ == "__main__":
    main()
