"""Write the table of tasks in docs/tasks.md from the registry: ``python -m tools.tasks``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.tasks import TASKS
from pipeline.tasks.task import Task

PAGE = Path(__file__).resolve().parents[1] / "docs" / "tasks.md"
BEGIN = "<!-- from the registry: make docs -->\n"
END = "<!-- end -->\n"
MANY = 6  # values of an option that are named one by one


def table() -> str:
    """Return the table, one line for each task."""
    lines = [
        "| task | finds | options (default first) | where | limits | SQL |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [f"| {' | '.join(_cells(task))} |" for task in TASKS.values()]
    return "\n".join(lines) + "\n"


def _cells(task: Task[Any]) -> list[str]:
    options = task.Options.model_json_schema().get("properties", {})
    note = " (experimental)" if task.is_experimental else ""
    limits = [f"{name.replace('_', ' ')} {value}" for name, value in task.limits.items()]
    return [
        f"`{task.name}`{note}",
        task.description.rstrip("."),
        "; ".join(_option(name, schema) for name, schema in options.items()),
        task.heard,
        ", ".join(limits),
        f"`{task.view}`",
    ]


def _option(name: str, schema: dict[str, Any]) -> str:
    values: list[Any] = schema.get("enum", [True, False] if schema.get("type") == "boolean" else [])
    default = schema.get("default")
    others = [value for value in values if value != default]
    shown = [] if default in (None, []) else [default]
    shown += others if len(others) <= MANY else []
    more = f" or one of {len(others)}" if len(others) > MANY else ""
    return f"`{name}` {', '.join(f'`{_word(value)}`' for value in shown)}{more}".strip()


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_table(page: str) -> str:
    """Return the page with the table as it should be; raises ``ValueError`` where its place is not marked."""
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"the page has no {BEGIN.strip()} ... {END.strip()}")
    return f"{head}{BEGIN}\n{table()}\n{END}{tail}"


def main() -> None:
    """Write the page anew."""
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
