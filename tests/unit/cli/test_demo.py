from __future__ import annotations

import sys

import pytest

from cli import demo
from cli.commands.demo import new_folder
from cli.demo import DEFAULT_MODEL, embedded_settings, group_samples
from cli.demo_queries import CAPTIONS, EMOTIONS, RECORDINGS, SEGMENTS, SUMMARIES, WORDS, print_query
from cli.errors import ProcessFailed
from cli.service import prepare_database
from cli.supervisor import Command
from pipeline.tasks.requests import validate_request
from samples import list_samples
from settings import Settings


def test_every_sample_is_in_one_job_that_asks_what_it_can_answer():
    jobs = group_samples(list_samples())

    assert sorted(s.name for job in jobs for s in job.samples) == sorted(s.name for s in list_samples())
    for job in jobs:
        assert {s.split for s in job.samples} == {job.channels == "split"}
        for task in job.tasks:
            validate_request(task["task"], task.get("options", {}))


def test_the_call_with_a_speaker_on_each_side_is_split():
    (job,) = [job for job in group_samples(list_samples()) if job.channels == "split"]

    assert [s.name for s in job.samples] == ["call"]


def test_a_demo_touches_no_real_installation(tmp_path, monkeypatch):
    for name in ("DATABASE_URL", "BROKER_URL", "STORAGE_URL", "MODEL", "DATA_DIR", "API_HOST"):
        monkeypatch.setenv(
            f"EARWITNESS_{name}", "redis://real" if name == "BROKER_URL" else "sqlite:////real"
        )

    settings = embedded_settings(tmp_path)

    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/earwitness.db"
    assert settings.resolved_storage_url == (tmp_path / "objects").as_uri()
    assert settings.embedded
    assert settings.model == DEFAULT_MODEL == "mini"


def test_each_demo_has_a_folder_of_its_own(tmp_path):
    folders = [new_folder(tmp_path / "data") for _ in range(3)]

    assert len(set(folders)) == 3
    assert all(folder.is_dir() for folder in folders)


@pytest.mark.parametrize("statement", [RECORDINGS, SEGMENTS, WORDS, CAPTIONS, EMOTIONS, SUMMARIES])
def test_every_query_of_the_demo_fits_the_schema(tmp_path, capsys, statement):
    prepare_database(Settings(data_dir=tmp_path))

    assert print_query(tmp_path / "earwitness.db", "What is there", statement) == 0
    shown = capsys.readouterr().out
    assert "What is there" in shown
    assert "(no rows)" in shown
    assert statement.split()[-1] in shown


def test_a_demo_whose_process_dies_shows_the_end_of_its_log(tmp_path, monkeypatch):
    def commands(settings, listening, *, log_dir):
        dies = [sys.executable, "-c", "raise SystemExit('no ear for this')"]
        return [Command("model worker", dies, log=log_dir / "model-worker.log")]

    monkeypatch.setattr(demo, "service_commands", commands)

    with pytest.raises(ProcessFailed, match=r"model worker ended with exit code 1.*\nno ear for this"):
        demo.run_demo(tmp_path / "demo")


def test_a_demo_whose_job_fails_says_why(client, api, job, row, capsys):
    failed = row("failed", {"code": "unsupported_format", "message": "this is no audio"})
    api.answers = {
        "POST /v1/uploads": (201, {"uri": "upload://x/a.wav"}),
        "POST /v1/jobs": (202, job("queued")),
        f"GET /v1/jobs/{job()['id']}": job("failed"),
        f"GET /v1/jobs/{job()['id']}/recordings": {"items": [failed], "next": None},
    }

    with pytest.raises(demo.DemoFailed, match="1 of 1 jobs"):
        demo._listen_to(client, list_samples()[:1], lambda: None)
    assert "unsupported_format: this is no audio" in capsys.readouterr().out
