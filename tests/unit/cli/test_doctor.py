from __future__ import annotations

import socket
import subprocess
import time
from types import SimpleNamespace

import pytest
from support.jobs import MODEL, claim, facts, plan, submit

from cli import doctor
from cli.doctor import Finding, Level, examine
from cli.service import prepare_database
from cli.settings_list import mask
from db.database import Database
from db.states import PassKind
from db.workers import WorkerReport, report_worker
from settings import Settings


def look(settings: Settings, what: str) -> Finding:
    (finding,) = [finding for finding in examine(settings) if finding.what == what]
    return finding


@pytest.fixture
def healthy(tmp_path) -> Settings:
    settings = Settings(data_dir=tmp_path)
    prepare_database(settings)
    return settings


def test_a_healthy_installation_has_no_failures_and_keeps_no_probe(healthy, tmp_path):
    findings = list(examine(healthy))

    assert [finding for finding in findings if finding.level is Level.FAIL] == []
    assert {finding.what for finding in findings} == {
        *(
            "database",
            "storage",
            "disk",
            "broker",
            "workers",
            "model",
            "CPU worker",
            "model worker",
            "decoder",
        )
    }
    assert not [path for path in (tmp_path / "objects").rglob("*") if path.is_file()]


def test_the_command_shows_settings_and_findings_and_ends_well(run, healthy, monkeypatch):
    monkeypatch.setenv("EARWITNESS_DATA_DIR", str(healthy.data_dir))
    monkeypatch.setenv("EARWITNESS_BROKER_URL", "")

    done = run("doctor")

    assert done.exit_code == 0, done.output
    (line,) = [line for line in done.stdout.splitlines() if "EARWITNESS_DATA_DIR" in line]
    assert str(healthy.data_dir) in line
    assert line.rstrip().endswith("set")
    assert "database: sqlite" in done.stdout


def test_the_command_fails_when_something_will_not_work(run, healthy, monkeypatch):
    monkeypatch.setenv("EARWITNESS_DATA_DIR", str(healthy.data_dir))
    monkeypatch.setenv("EARWITNESS_DATABASE_URL", "postgresql://me:secret@127.0.0.1:1/x")
    monkeypatch.setenv("EARWITNESS_BROKER_URL", "redis://:geheim@127.0.0.1:1/0")
    monkeypatch.setenv("EARWITNESS_OPERATOR_TOKEN", "segreto")

    done = run("doctor")

    assert done.exit_code == 1
    assert "secret" not in done.output
    assert "geheim" not in done.output
    assert "segreto" not in done.output
    assert "-> start it, or correct EARWITNESS_DATABASE_URL" in done.stdout


def test_a_misspelled_variable_is_named_with_the_likely_one(healthy, monkeypatch):
    monkeypatch.setenv("EARWITNESS_MODLE", "x")

    finding = look(healthy, "environment")

    assert (finding.level, finding.fix) == (Level.WARN, "did you mean EARWITNESS_MODEL?")


@pytest.mark.parametrize(
    ("change", "what", "level", "says"),
    [
        ({"database_url": "postgresql://me:pw@127.0.0.1:1/x"}, "database", Level.FAIL, "DATABASE_URL"),
        ({"broker_url": "redis://127.0.0.1:1/0"}, "broker", Level.FAIL, "start Redis"),
        ({"storage_url": "/proc/nowhere"}, "storage", Level.FAIL, "STORAGE_URL"),
        ({"file_roots": ("/nowhere/at/all",)}, "file roots", Level.WARN, "FILE_ROOTS"),
        ({"model": "tiny"}, "model", Level.WARN, "trained checkpoint"),
        ({"model": "/nowhere"}, "model", Level.FAIL, "OWNER/NAME@COMMIT"),
        ({"model": "Qwen/Qwen-Audio"}, "model", Level.FAIL, "OWNER/NAME@COMMIT"),
        ({"model": "Qwen/Qwen-Audio@main"}, "model", Level.FAIL, "OWNER/NAME@COMMIT"),
        ({"model": f"Qwen/Qwen-Audio@{'a' * 40}"}, "model", Level.OK, ""),
    ],
)
def test_what_will_not_work_is_found_with_what_to_do(tmp_path, change, what, level, says):
    finding = look(Settings(data_dir=tmp_path, **change), what)

    assert finding.level is level
    assert says in finding.fix


@pytest.mark.parametrize(
    ("device", "level", "says"),
    [("cuda:1", Level.OK, "cuda:1 is there"), ("cuda:2", Level.FAIL, "there is no cuda:2 here")],
)
def test_a_gpu_that_is_named_is_looked_for(tmp_path, monkeypatch, device, level, says):
    monkeypatch.setattr("cli.service.count_devices", lambda: 2)

    finding = look(Settings(data_dir=tmp_path, device=device), "device")

    assert finding.level is level
    assert says in finding.fact
    assert ("EARWITNESS_DEVICE" in finding.fact + finding.fix) == (level is Level.FAIL)


def test_a_database_that_is_not_there_yet_is_no_failure(tmp_path):
    finding = look(Settings(data_dir=tmp_path), "database")

    assert finding.level is Level.WARN
    assert "earwitness up" in finding.fix
    assert not (tmp_path / "earwitness.db").exists()


def test_an_empty_database_has_to_be_upgraded(tmp_path):
    (tmp_path / "earwitness.db").touch()

    finding = look(Settings(data_dir=tmp_path), "database")

    assert (finding.level, finding.fix) == (Level.FAIL, "earwitness db upgrade")


def test_a_checkpoint_folder_has_to_be_whole(tmp_path):
    assert look(Settings(data_dir=tmp_path, model=str(tmp_path)), "model").fact.endswith(
        "config.json, qwen.tiktoken"
    )
    for name in ("config.json", "qwen.tiktoken"):
        (tmp_path / name).touch()
    assert look(Settings(data_dir=tmp_path, model=str(tmp_path)), "model").level is Level.OK


def test_work_that_waits_for_a_model_without_worker_is_found(tmp_path):
    healthy = Settings(data_dir=tmp_path, model=MODEL)
    prepare_database(healthy)
    database = Database(healthy.resolved_database_url)
    submit(database)
    plan(database, claim(database, PassKind.PLAN), facts(2))
    found = [finding for finding in examine(healthy) if finding.what == "workers"]
    assert [finding.level for finding in found] == [Level.FAIL]
    assert f"no worker serves {healthy.model}, and 2 passes wait" in found[0].fact
    assert "earwitness worker" in found[0].fix

    with database.write() as session:
        report_worker(session, WorkerReport("gpu-1:1:gpu", "gpu", "gpu-1", 1, model=healthy.model))
    found = [finding for finding in examine(healthy) if finding.what == "workers"]
    assert [(finding.level, finding.fact) for finding in found] == [
        (Level.OK, f"the model {healthy.model} is served; 2 passes wait")
    ]
    database.close()


def test_missing_packages_are_named_with_the_command_to_run(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "MODEL_PACKAGES", ("torch_that_is_not_there",))

    finding = look(healthy, "model worker")

    assert finding.level is Level.FAIL
    assert "torch_that_is_not_there" in finding.fact
    assert "pip install" in finding.fix


def test_a_full_disk_is_warned_about(healthy, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=2**30))

    assert look(healthy, "disk").level is Level.WARN


@pytest.mark.parametrize(
    ("said", "level", "says"),
    [
        (b'{"network_removed": true, "no_new_privileges": true}', Level.OK, "without network"),
        (b'{"network_removed": false, "no_new_privileges": true}', Level.WARN, "without: network removed"),
        (b"", Level.FAIL, "cannot be confined"),
    ],
)
def test_what_a_decoder_cannot_be_denied_is_said(healthy, monkeypatch, said, level, says):
    monkeypatch.setattr(
        doctor.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, stdout=said)
    )

    finding = look(healthy, "decoder")

    assert finding.level is level
    assert says in finding.fact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host/db", "postgresql://me:***@host/db"),
        ("redis://:secret@host:6379/0", "redis://:***@host:6379/0"),
        ("redis://:se@cret@host", "redis://:***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("postgresql://host/db?user=me&password=secret", "postgresql://host/db?user=me&password=***"),
        ("s3://bucket/prefix", "s3://bucket/prefix"),
        ("", ""),
    ],
)
def test_a_password_is_never_shown(url, shown):
    assert mask(url) == shown


def test_a_storage_that_takes_connections_and_says_nothing_is_told_in_time(healthy, monkeypatch):
    monkeypatch.setattr(doctor, "TIMEOUT_SECONDS", 1.0)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hung = healthy.model_copy(
            update={
                "storage_url": "s3://bucket/prefix",
                "s3_endpoint_url": f"http://127.0.0.1:{silent.getsockname()[1]}",
                "s3_region": "us-east-1",
                "s3_path_style": True,
            }
        )
        began = time.monotonic()
        (finding,) = doctor._storage(hung)

    assert finding.level is Level.FAIL
    assert time.monotonic() - began < 20
