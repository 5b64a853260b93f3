from __future__ import annotations

import io
import shutil
import sys

import pytest

from cli import terminal


@pytest.mark.parametrize(
    ("started", "found", "name"),
    [
        (".venv/bin/earwitness", None, ".venv/bin/earwitness"),
        ("/opt/venv/bin/earwitness", "/opt/venv/bin/earwitness", "earwitness"),
        ("/app/cli/main.py", None, "earwitness"),
    ],
)
def test_lines_to_copy_name_the_command_as_it_can_be_started(monkeypatch, started, found, name):
    monkeypatch.setattr(sys, "argv", [started, "up"])
    monkeypatch.setattr(shutil, "which", lambda command: found)
    assert terminal.our_name() == name


def test_what_goes_into_a_pipe_is_not_folded_at_eighty_columns(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert terminal.width_of(io.StringIO()) == terminal.PIPED_WIDTH
    monkeypatch.setenv("COLUMNS", "80")
    assert terminal.width_of(io.StringIO()) is None
