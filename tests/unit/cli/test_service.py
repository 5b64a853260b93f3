from __future__ import annotations

import socket
import sqlite3

import httpx
import pytest

from cli import service
from cli.commands import service as commands
from cli.errors import MissingPackages, NoModel, NotReadyInTime, PortTaken
from db.database import DatabaseUnavailable
from settings import InvalidSettings, Settings


def test_a_free_port_is_found_and_has_a_url():
    with service.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert service.url_of(listening) == f"http://127.0.0.1:{port}"
        socket.create_connection(("127.0.0.1", port)).close()


@pytest.mark.parametrize(
    ("bound", "url"),
    [
        (("0.0.0.0", 80), "http://127.0.0.1:80"),
        (("::", 80, 0, 0), "http://[::1]:80"),
        (("::1", 80, 0, 0), "http://[::1]:80"),
        (("10.0.0.7", 80), "http://10.0.0.7:80"),
    ],
)
def test_a_url_names_an_address_that_can_be_reached(bound, url):
    class Listening:
        def getsockname(self):
            return bound

    assert service.url_of(Listening()) == url


def test_a_taken_port_is_said_with_what_to_do():
    with (
        service.listen("127.0.0.1", 0) as listening,
        pytest.raises(PortTaken, match=r"Address already in use.*--port"),
    ):
        service.listen("127.0.0.1", listening.getsockname()[1])


def test_missing_packages_are_named_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr(service, "MODEL_PACKAGES", ("torch_that_is_not_there",))
    settings = Settings(data_dir=tmp_path)
    with service.listen("127.0.0.1", 0) as listening:
        with pytest.raises(MissingPackages, match=r"torch_that_is_not_there.*--no-model-worker"):
            service.service_commands(settings, listening)
        commands = service.service_commands(settings, listening, model_worker=False)
    assert [command.name for command in commands] == ["API", "CPU worker"]


def test_the_processes_share_the_settings_and_only_the_api_the_socket(tmp_path):
    settings = Settings(data_dir=tmp_path, model="mini", broker_url="redis://host")
    with service.listen("127.0.0.1", 0) as listening:
        commands = service.service_commands(settings, listening, log_dir=tmp_path)
        fd = listening.fileno()

    assert [command.keep_fds for command in commands] == [[fd], [], []]
    assert [str(command.log) for command in commands] == [
        str(tmp_path / name) for name in ("api.log", "cpu-worker.log", "model-worker.log")
    ]
    for command in commands:
        assert command.env["EARWITNESS_DATA_DIR"] == str(tmp_path)
        assert command.env["EARWITNESS_MODEL"] == "mini"
        assert command.env["EARWITNESS_BROKER_URL"] == "redis://host"
        assert command.env["EARWITNESS_DATABASE_URL"] == ""


def test_an_embedded_database_is_made_and_brought_up_to_date(tmp_path):
    settings = Settings(data_dir=tmp_path / "new")

    service.prepare_database(settings)
    service.prepare_database(settings)

    connection = sqlite3.connect(tmp_path / "new" / "earwitness.db")
    assert connection.execute("SELECT count(*) FROM jobs").fetchone() == (0,)
    connection.close()


def test_a_server_that_does_not_answer_is_said_without_its_password(tmp_path):
    settings = Settings(data_dir=tmp_path, database_url="postgresql://me:secret@127.0.0.1:1/x")

    with pytest.raises(DatabaseUnavailable) as caught:
        service.prepare_database(settings)
    assert "secret" not in str(caught.value)


class QuietSupervisor:
    polls = 0

    def poll(self):
        self.polls += 1


def test_a_service_that_does_not_come_up_in_time_is_said(client, api):
    api.answers["GET /readyz"] = (503, {"status": 503, "code": "not_ready"})

    with pytest.raises(NotReadyInTime, match=r"http://api.*doctor"):
        service.wait_until_ready(client, QuietSupervisor(), seconds=0.15)
    assert not service.wait_until_ready(client, QuietSupervisor(), stopped=lambda: True)


def not_ready(**parts):
    errors = [{"field": part, "message": fact} for part, fact in parts.items()]
    return 503, {"status": 503, "code": "not_ready", "errors": errors}


def test_the_parts_that_were_not_ready_are_said(client, api):
    api.answers["GET /readyz"] = [
        not_ready(schema="it is old"),
        not_ready(database="no answer", storage="no such bucket"),
        httpx.ReadTimeout("late"),
    ]

    with pytest.raises(
        NotReadyInTime, match=r"database: no answer; storage: no such bucket.*doctor"
    ) as caught:
        service.wait_until_ready(client, QuietSupervisor(), seconds=1.0)
    assert "schema" not in str(caught.value)


def test_an_api_that_never_answered_is_said(client, api):
    api.answers["GET /readyz"] = httpx.ReadTimeout("late")

    with pytest.raises(NotReadyInTime, match=r"no answer from http://api"):
        service.wait_until_ready(client, QuietSupervisor(), seconds=0.15)


def test_a_service_that_says_it_is_not_ready_is_asked_ever_less_often(client, api, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(service.time, "monotonic", clock)
    monkeypatch.setattr(service.time, "sleep", clock.sleep)
    api.answers["GET /readyz"] = not_ready(storage="no such bucket")
    supervisor = QuietSupervisor()

    with pytest.raises(NotReadyInTime):
        service.wait_until_ready(client, supervisor, seconds=60.0)
    assert 30 <= len(api.requests) <= 40
    assert supervisor.polls > 250  # the processes are looked after as often as before


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds


def test_a_service_that_comes_up_is_waited_for(client, api):
    api.answers["GET /readyz"] = [(503, {"status": 503, "code": "not_ready"}), {"status": "ready"}]

    assert service.wait_until_ready(client, QuietSupervisor())


def test_a_chat_model_gets_a_worker_of_its_own_where_one_is_set(tmp_path):
    settings = Settings(data_dir=tmp_path, model="mini", chat_model="/models/chat")
    with service.listen("127.0.0.1", 0) as listening:
        commands = service.service_commands(settings, listening)
        without = service.service_commands(settings, listening, model_worker=False)
    assert [command.name for command in commands] == ["API", "CPU worker", "model worker", "chat worker"]
    assert commands[-1].env["EARWITNESS_CHAT_MODEL"] == "/models/chat"
    assert [command.name for command in without] == ["API", "CPU worker"]


@pytest.mark.parametrize(
    ("change", "chat", "says"),
    [
        ({"model": "nowhere"}, None, "EARWITNESS_MODEL"),
        ({"model": "nowhere"}, False, "EARWITNESS_MODEL"),
        ({"chat_model": "nowhere"}, None, "EARWITNESS_CHAT_MODEL"),
        ({"chat_model": "nowhere"}, True, "EARWITNESS_CHAT_MODEL"),
    ],
)
def test_a_model_that_is_not_there_is_said_before_its_worker_starts(tmp_path, change, chat, says):
    with pytest.raises(NoModel, match=f"nowhere is no folder.*set {says} to"):
        service.check_models(Settings(data_dir=tmp_path, **change), chat=chat)


def test_a_gpu_that_is_not_there_is_said_before_its_worker_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "count_devices", lambda: 1)
    service.check_device(Settings(data_dir=tmp_path, device="cuda"))
    with pytest.raises(InvalidSettings, match=r"EARWITNESS_DEVICE: there is no cuda:1 here"):
        service.check_device(Settings(data_dir=tmp_path, device="cuda:1"))


def test_torch_is_not_asked_where_no_gpu_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(service, "count_devices", lambda: pytest.fail("asked"))
    for device in ("auto", "cpu"):
        service.check_device(Settings(data_dir=tmp_path, device=device))


def test_up_starts_nothing_for_a_gpu_that_is_not_there(run, monkeypatch, tmp_path):
    monkeypatch.setattr(service, "count_devices", lambda: 0)
    monkeypatch.setattr(service, "prepare_database", lambda settings: pytest.fail("began"))
    monkeypatch.setenv("EARWITNESS_DEVICE", "cuda")
    done = run("up", "--port", 0, "--data-dir", tmp_path)
    assert done.exit_code == 1
    assert "EARWITNESS_DEVICE" in done.stderr


def test_a_worker_does_not_start_with_a_wrong_setting_and_names_it_as_workers_do(run, monkeypatch):
    monkeypatch.setattr(commands.os, "execv", lambda path, argv: pytest.fail("started"))
    monkeypatch.setenv("EARWITNESS_DEVICE", "gpu")
    done = run("worker", "--kind", "gpu")
    assert done.exit_code == 2
    assert done.stderr == (
        "gpu worker: wrong settings: EARWITNESS_DEVICE: unknown device: use auto, cpu, cuda or cuda:N\n"
    )


def test_a_worker_does_not_mind_the_other_model(tmp_path):
    service.check_models(Settings(data_dir=tmp_path, model="nowhere"), chat=True)
    service.check_models(Settings(data_dir=tmp_path, chat_model="nowhere"), chat=False)
    service.check_models(Settings(data_dir=tmp_path))
