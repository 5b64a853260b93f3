"""The documentation keeps step with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from api.metrics import DECLARED
from cli.settings_list import shown
from db.tables import Table
from db.views import view_definitions
from pipeline.tasks import TASKS
from settings import PREFIX, Settings
from tools.map import modules
from tools.tasks import PAGE, with_table

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_lists_every_setting_with_its_default() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name, field in Settings.model_fields.items():
        default = f"`{shown(field.default)}`" if shown(field.default) else ""
        assert f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |" in page


def test_the_sql_page_names_every_table_and_view_and_their_columns() -> None:
    page = (ROOT / "docs" / "sql.md").read_text()
    names = [*Table.metadata.tables, *view_definitions("sqlite")]
    assert [name for name in names if f"`{name}`" not in page] == []


def test_the_table_of_tasks_is_what_the_registry_says() -> None:
    assert PAGE.read_text() == with_table(PAGE.read_text()), "run make docs"
    for task in TASKS.values():
        assert task.limits, f"{task.name} has no limits"
        assert task.view == "annotations" or task.view in {
            *Table.metadata.tables,
            *view_definitions("sqlite"),
        }


def test_the_operations_page_names_every_metric_with_its_labels() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for name, declared in DECLARED.items():
        row = next(line for line in page.splitlines() if line.startswith("|") and f"`{name}`" in line)
        assert declared.kind in row
        assert [label for label in declared.labels if f"`{label}`" not in row] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere_inside_the_repository(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            found = (page.parent / target).resolve()
            assert found.is_relative_to(ROOT), f"{page.name} links outside the repository: {target}"
            assert found.exists(), f"{page.name} links to nothing: {target}"


def test_every_module_says_what_it_owns() -> None:
    assert [path for path, sentence in modules() if not sentence.endswith((".", ":"))] == []
