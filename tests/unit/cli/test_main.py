from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cli import service

COMMANDS = ("up", "api", "worker", "bench", "submit", "status", "results", "tasks", "db", "doctor", "demo")


def test_help_lists_every_command(run):
    done = run("--help")

    assert done.exit_code == 0
    for command in COMMANDS:
        assert f" {command} " in done.stdout


def test_a_worker_becomes_its_module(run, monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda path, argv: became.append((path, argv)))

    assert run("worker", "--kind", "gpu").exit_code == 0
    assert became == [(sys.executable, [sys.executable, "-P", "-m", "workers.gpu"])]


def test_a_model_worker_without_its_model_does_not_start(run, monkeypatch):
    monkeypatch.setattr(os, "execv", lambda path, argv: pytest.fail("became another process"))
    monkeypatch.setattr(service, "prepare_database", lambda settings: pytest.fail("began to start"))
    monkeypatch.setenv("EARWITNESS_MODEL", "nowhere")

    for arguments in (("worker", "--kind", "gpu"), ("up", "--port", 0)):
        done = run(*arguments)
        assert done.exit_code == 1
        assert "nowhere is no folder" in done.stderr


def test_an_unknown_worker_is_refused_with_those_that_exist(run):
    done = run("worker", "--kind", "tpu")

    assert done.exit_code == 2
    assert "'cpu', 'gpu'" in done.output


def test_a_database_is_upgraded_once_and_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setenv("EARWITNESS_DATA_DIR", str(tmp_path))

    first, second = run("db", "upgrade"), run("db", "upgrade")

    assert first.exit_code == second.exit_code == 0
    assert "it was at none" in first.stderr
    assert "already" in second.stderr


@pytest.mark.parametrize("command", [("db", "upgrade"), ("up", "--port", "0")])
def test_a_database_that_does_not_answer_ends_the_command_politely(run, monkeypatch, command, tmp_path):
    monkeypatch.setenv("EARWITNESS_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("EARWITNESS_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/x")

    done = run(*command)

    assert done.exit_code == 1
    assert "does not answer" in done.stderr
    assert "secret" not in done.output
    assert "Traceback" not in done.output


def test_the_client_half_loads_neither_torch_nor_the_database():
    code = (
        "import sys, cli.main\n"
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'numpy', 'celery', 'boto3', 'fastapi'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
