"""The deployment files: what they build exists, what they run is hardened, what they set is known."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
FINAL_TARGETS = {"api", "cpu", "gpu", "objects"}
ONE_SHOT = {"migrate", "bucket"}
SECRET = "ab12" * 8

every_service = pytest.mark.parametrize("name", SERVICES)
every_target = pytest.mark.parametrize("target", sorted(FINAL_TARGETS))


@dataclass
class Stage:
    base: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for name, rest in self.lines if name == instruction]


def read_stages() -> dict[str, Stage]:
    """The Dockerfile's stages with their instructions, comments and line breaks taken out."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    stages: dict[str, Stage] = {}
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = rest.partition(" AS ")
            stage = stages[name] = Stage(base)
        elif instruction:
            stage.lines.append((instruction, " ".join(rest.split())))
    return stages


STAGES = read_stages()


def chain(target: str) -> list[Stage]:
    """A stage, the stages it is built from and those it copies from."""
    if target not in STAGES:
        return []
    stage = STAGES[target]
    copied = [match for rest in stage.all("COPY") for match in re.findall(r"--from=(\S+)", rest)]
    return [stage, *(one for name in [stage.base, *copied] for one in chain(name))]


def pinned(image: str) -> bool:
    return re.search(r":v?\d+\.\d+[\w.-]*$", image) is not None


def probe(service: str) -> list[str]:
    """A health check that is Python, with this Python in place of the image's."""
    kind, program, *arguments = SERVICES[service]["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    return [sys.executable, *arguments]


# Images.


def test_every_outside_image_is_pinned() -> None:
    images = [stage.base for stage in STAGES.values() if stage.base not in STAGES]
    images += [service["image"] for service in SERVICES.values() if "image" in service]
    assert len(images) >= 4
    assert [image for image in images if not pinned(image)] == []


@every_service
def test_a_service_has_an_image_or_a_target_that_exists(name: str) -> None:
    service = SERVICES[name]
    assert ("image" in service) != ("build" in service)
    if "build" in service:
        assert service["build"] == {"context": ".", "target": service["build"]["target"]}
        assert service["build"]["target"] in FINAL_TARGETS


@every_target
def test_an_image_runs_as_somebody(target: str) -> None:
    assert STAGES[target].all("USER") == ["10001:10001"]
    assert STAGES[target].lines[-1][0] in ("USER", "CMD"), "nothing is built after the user was set"


def test_everything_that_is_copied_exists() -> None:
    for stage in STAGES.values():
        for rest in stage.all("COPY"):
            *words, _target = rest.split()
            origin = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
            assert all(name in STAGES for name in origin)
            if not origin:
                assert all((ROOT / source).exists() for source in words if not source.startswith("--"))


def test_the_build_context_leaves_out_secrets_and_keeps_what_a_wheel_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".git", ".env", ".venv", "earwitness-data"} <= set(ignored)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench"}
    needed = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "samples", "pipeline", *packages}
    assert needed.isdisjoint(ignored)


def test_every_installation_is_constrained() -> None:
    installations = [
        line
        for stage in STAGES.values()
        for run in stage.all("RUN")
        for line in re.findall(r"pip install[^&|;]*", run)
    ]
    assert len(installations) == 3
    assert all("--constraint /constraints.txt" in line for line in installations)


def test_torch_is_only_in_the_gpu_image() -> None:
    def commands(target: str) -> str:
        return "\n".join(rest for stage in chain(target) for rest in stage.all("RUN"))

    assert "[gpu]" in commands("gpu")
    assert "[gpu]" not in commands("cpu") + commands("api")
    assert "--no-deps silero-vad" in commands("cpu"), "its wheel asks for torch"
    assert "silero" not in commands("api")


# Services.


def test_the_parts_of_a_deployment_are_there() -> None:
    assert (
        set(SERVICES)
        == {"api", "worker-cpu", "worker-gpu", "worker-chat", "postgres", "redis", "objects"} | ONE_SHOT
    )


@every_service
def test_a_service_is_hardened(name: str) -> None:
    service = SERVICES[name]
    uid = service["user"].split(":")[0]
    assert int(uid) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc"} & set(service)
    assert service["pids_limit"] > 0
    assert "/tmp" in service["tmpfs"]
    volumes = [volume.partition(":")[0] for volume in service.get("volumes", [])]
    assert set(volumes) <= set(COMPOSE["volumes"]), "named volumes only, nothing of the host"


@every_service
def test_a_service_says_whether_it_is_well(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOT:
        assert service["restart"] == "no"
        assert service["healthcheck"] == {"disable": True}
        waiting = [other for other in SERVICES.values() if name in other.get("depends_on", {})]
        assert waiting
        assert all(o["depends_on"][name]["condition"] == "service_completed_successfully" for o in waiting)
    else:
        assert service["restart"] == "unless-stopped"
        assert {"test", "interval", "timeout", "retries"} <= set(service["healthcheck"])


@every_service
def test_a_service_waits_for_what_it_uses_until_that_is_well(name: str) -> None:
    service = SERVICES[name]
    for other, how in service.get("depends_on", {}).items():
        finished = "service_completed_successfully" if other in ONE_SHOT else "service_healthy"
        assert how == {"condition": finished}
    hosts = re.findall(r"(?:@|//)(postgres|redis|objects):", str(service.get("environment", {})))
    if name not in ONE_SHOT:
        assert set(hosts) <= set(service.get("depends_on", {}))


def test_only_the_api_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"]}
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("postgres", "redis", "objects"):
        assert SERVICES[name]["networks"] == ["inside"]


@every_service
def test_no_secret_is_written_down(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search("PASSWORD|SECRET|AUTH", key):
            assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), f"{key} must come from .env"
        without_variables = re.sub(r"\$\{[^}]*\}", "", str(value))
        assert not re.search(r"://[^/@]*:[^/@]+@", without_variables), f"{key} holds a password"


@every_service
def test_every_setting_that_is_set_exists(name: str) -> None:
    known = {f"{PREFIX}{field_name.upper()}" for field_name in Settings.model_fields}
    environment = SERVICES[name].get("environment", {})
    assert {variable for variable in environment if variable.startswith(PREFIX)} <= known


@every_service
def test_the_settings_of_a_service_are_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith(PREFIX):
            monkeypatch.delenv(variable)
    for variable, value in SERVICES[name].get("environment", {}).items():
        if value is not None:
            filled = re.sub(r"\$\{\w+:\?[^}]+\}", SECRET, value)
            monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", filled))
    settings = Settings()
    if "EARWITNESS_DATABASE_URL" in os.environ:
        assert (
            settings.resolved_database_url
            == f"postgresql+psycopg://earwitness:{SECRET}@postgres:5432/earwitness"
        )
        assert (settings.broker_url, settings.s3_path_style) == (f"redis://:{SECRET}@redis:6379/0", True)


def test_the_broker_keeps_what_it_holds() -> None:
    command = SERVICES["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert command[0] == "redis-server"
    assert (options["--appendonly"], options["--maxmemory-policy"]) == ("yes", "noeviction")


def test_data_folders_are_volumes() -> None:
    mounted = {name: service.get("volumes", []) for name, service in SERVICES.items()}
    for name in ("api", "worker-cpu", "worker-gpu"):
        assert mounted[name][0].endswith(":/var/lib/earwitness")
    assert "EARWITNESS_DATA_DIR=/var/lib/earwitness" in STAGES["base"].all("ENV")[0]


# What is written in them as code runs.


def test_the_worker_probe_tells_a_live_worker_from_a_silent_one(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    *program, code = probe("worker-cpu")
    path = SERVICES["worker-cpu"]["environment"]["EARWITNESS_ALIVE_FILE"]
    assert path in code
    command = [*program, code.replace(path, str(alive))]

    def well() -> bool:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    assert not well()
    alive.touch()
    assert well()
    os.utime(alive, (time.time() - 120,) * 2)
    assert not well()
    assert probe("worker-gpu") == probe("worker-cpu")


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False)])
def test_the_api_probe_asks_whether_it_is_ready(status: int, well: bool) -> None:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        Thread(target=server.handle_request, daemon=True).start()
        *program, code = probe("api")
        assert "127.0.0.1:8000" in code
        asked = code.replace(":8000", f":{server.server_port}")
        found = subprocess.run([*program, asked], capture_output=True, check=False).returncode == 0
    assert found is well


def test_the_bucket_step_makes_the_bucket_once() -> None:
    service = SERVICES["bucket"]
    _python, _flag, code = service["command"]
    assert "$" not in code, "compose would replace it"
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host.replace('0.0.0.0', '127.0.0.1')}:{port}"
        environment = {
            **{name: str(value) for name, value in service["environment"].items()},
            "EARWITNESS_S3_ENDPOINT_URL": url,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "PATH": os.environ["PATH"],
        }
        for _ in range(2):
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        made = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        names = [bucket["Name"] for bucket in made.list_buckets()["Buckets"]]
        assert names.count("earwitness") == 1  # the servers of one test process share their buckets
        made.close()
    finally:
        server.stop()
