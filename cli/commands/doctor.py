"""Say what is configured, reachable and missing."""

from __future__ import annotations

import typer
from rich.table import Column, Table
from rich.text import Text

from cli.terminal import out, plain
from settings import load_settings

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


def doctor() -> None:
    """Say what is configured, reachable and missing, with what to do; exit code 1 when something will not work."""
    from cli.doctor import Level, examine
    from cli.settings_list import list_settings

    settings = load_settings()
    table = Table("setting", Column("value", overflow="fold"), "", box=None)
    for name, value, is_default in list_settings(settings):
        table.add_row(
            name, plain(value or "-"), plain("default" if is_default else "set", "dim" if is_default else "")
        )
    out.print(table)
    out.print()
    failed = False
    for finding in examine(settings):
        failed |= finding.level is Level.FAIL
        head = Text.assemble(
            plain(f"{finding.level:4} ", _COLOURS[finding.level]), plain(finding.what, "bold")
        )
        out.print(Text.assemble(head, plain(f": {finding.fact}")), soft_wrap=True, highlight=False)
        if finding.fix:
            out.print(plain(f"     -> {finding.fix}"), soft_wrap=True, highlight=False)
    if failed:
        raise typer.Exit(1)
