"""Real processes that load a model: they are seen from the start, and leave no row where they end in their own way."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from support.servers import ROOT, WorkerProcess, wait_until, worker

from db.database import Database
from db.tables import Worker
from db.workers import list_workers

LOADER = """
import pathlib, sys, time
from db.states import PassKind
from workers.process import run_worker
from workers.runner import Lane

def open_lanes(context):
    print("loading", flush=True)
    while not pathlib.Path({loaded!r}).exists():
        time.sleep(0.02)
    return [Lane(PassKind.UNDERSTAND, 2, None, model="slow")]

sys.exit(run_worker("gpu", open_lanes, loads=lambda settings: "slow"))
"""

Start = Callable[..., WorkerProcess]


@pytest.fixture
def start(sqlite_database: Database, tmp_path: Path) -> Iterator[Start]:
    """Start a module as a worker process on the database."""
    (tmp_path / "loader.py").write_text(LOADER.format(loaded=str(tmp_path / "loaded")))
    environment = {
        "EARWITNESS_DATA_DIR": str(tmp_path),
        "EARWITNESS_DATABASE_URL": f"sqlite:///{sqlite_database.url.database}",
        "EARWITNESS_BROKER_URL": "",
        "PYTHONPATH": f"{ROOT}:{tmp_path}",
    }
    with ExitStack() as stack:
        yield lambda module, **more: stack.enter_context(
            worker(module, {**environment, **more}, tmp_path / "worker.log")
        )


def rows(database: Database) -> list[Worker]:
    with database.read() as session:
        return [row for row, _ in list_workers(session)]


def test_a_process_is_seen_while_it_loads_and_serves_the_model_when_it_has(
    sqlite_database: Database, tmp_path: Path, start: Start
) -> None:
    process = start("loader")
    wait_until(lambda: rows(sqlite_database), 30, "a row")
    (row,) = rows(sqlite_database)
    assert (row.kind, row.model, row.trouble) == ("gpu", "slow", "loading: the model slow is being loaded")
    (tmp_path / "loaded").touch()
    wait_until(lambda: rows(sqlite_database)[0].trouble is None, 30, "it hears")
    assert process.stop() == 0, process.text()
    assert rows(sqlite_database) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_ended_while_it_loads_goes_at_once_with_its_row(
    sqlite_database: Database, start: Start, number: signal.Signals
) -> None:
    process = start("loader")
    process.wait_for("loading")
    wait_until(lambda: rows(sqlite_database), 30, "a row")
    process.process.send_signal(number)
    assert process.process.wait(10) == 0, process.text()
    assert rows(sqlite_database) == []


@pytest.mark.parametrize(("module", "variable"), [("workers.gpu", "MODEL"), ("workers.chat", "CHAT_MODEL")])
def test_a_checkpoint_that_is_not_there_ends_the_process_and_removes_its_row(
    sqlite_database: Database, tmp_path: Path, start: Start, module: str, variable: str
) -> None:
    missing = str(tmp_path / "no" / "such" / "model")
    process = start(module, **{f"EARWITNESS_{variable}": missing})
    wait_until(lambda: rows(sqlite_database), 30, "a row")
    (row,) = rows(sqlite_database)
    assert (row.kind, row.model) == (module.removeprefix("workers."), missing)
    assert (row.trouble or "").startswith("loading: ")
    assert process.process.wait(60) == 1, process.text()
    assert rows(sqlite_database) == []


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("module", "variable", "value"),
    [
        ("workers.gpu", "DEVICE", "cuda"),
        ("workers.chat", "DEVICE", "cuda:1"),
        ("workers.gpu", "DEVICE", "gpu"),
        ("workers.chat", "PLACES", "many"),
        ("workers.chat", "CHAT_MODEL", ""),
        ("workers.cpu", "DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/none"),
    ],
)
def test_a_setting_that_cannot_be_used_ends_a_worker_with_a_line_that_names_it(
    start: Start, form: str, module: str, variable: str, value: str
) -> None:
    more = {"CUDA_VISIBLE_DEVICES": "", "EARWITNESS_CHAT_MODEL": "mini", "EARWITNESS_LOG": form}
    process = start(module, **{**more, f"EARWITNESS_{variable}": value})
    assert process.process.wait(60) == 2, process.text()
    lines = process.text().splitlines()
    assert "Traceback" not in process.text()
    assert "secret" not in process.text()
    assert variable in lines[-1] or "the database" in lines[-1]
    if form == "json":
        assert all(isinstance(json.loads(line), dict) for line in lines)
        assert json.loads(lines[-1])["level"] == "CRITICAL"
