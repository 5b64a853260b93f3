"""All ready work comes to be in one place, where its turn is decided."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def makes_passes(node: ast.AST) -> bool:
    """Say whether a call makes rows of passes: ``Pass(...)``, ``insert(Pass)``, ``insert_rows(session, Pass, ...)``."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    given = [ast.unparse(argument) for argument in node.args]
    return name == "Pass" or (name.split(".")[-1].startswith("insert") and "Pass" in given)


def test_only_the_fair_queue_makes_passes() -> None:
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for package in ("db", "workers", "api", "cli")
        for file in (ROOT / package).rglob("*.py")
        if file != ROOT / "db" / "fairness.py"
        for node in ast.walk(ast.parse(file.read_text()))
        if makes_passes(node)
    ]
    assert found == [], "use db.fairness.insert_ready, which gives each pass its turn"
