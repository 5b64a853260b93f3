"""Compose the service of separate processes: the API, a CPU worker and a model worker."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cli.client import ApiClient
from cli.errors import (
    ApiProblem,
    ApiUnreachable,
    MissingPackages,
    NoKeys,
    NoModel,
    NotReadyInTime,
    PortTaken,
)
from cli.gpus import count_devices
from cli.supervisor import Command, Supervisor, module_command
from settings import PREFIX, Settings
from settings.devices import check_gpu

READY_SECONDS = 60.0
LOOK_SECONDS = 0.1  # between two looks at the processes while they start
LONGEST_ASK_SECONDS = 2.0  # between two questions whether all is ready
_CARRIED = (
    "database_url",
    "broker_url",
    "storage_url",
    "model",
    "chat_model",
    "require_keys",
)  # settings that children take over
MODEL_PACKAGES = ("torch", "transformers", "safetensors", "tiktoken")
CPU_PACKAGES = ("av", "numpy", "onnxruntime", "silero_vad")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, on a free port when ``port`` is 0; raises ``PortTaken``.

    The supervisor holds it and the API inherits it: clients of an API that starts again wait instead of failing.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise PortTaken(
            f"cannot listen on {host}:{port} ({reason}): choose another with --port, 0 is any"
        ) from None


def url_of(listening: socket.socket) -> str:
    """Return the URL under which this machine reaches the socket."""
    host, port = listening.getsockname()[:2]
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def missing_packages(names: Sequence[str]) -> list[str]:
    """Return the packages that cannot be imported, without importing any."""
    return [name for name in names if importlib.util.find_spec(name) is None]


def service_commands(
    settings: Settings, listening: socket.socket, *, model_worker: bool = True, log_dir: Path | None = None
) -> list[Command]:
    """Return the processes of the service; raises ``MissingPackages`` for one that could not start."""
    needed = CPU_PACKAGES + (MODEL_PACKAGES if model_worker else ())
    if missing := missing_packages(needed):
        hint = ", or start with --no-model-worker" if model_worker else ""
        raise MissingPackages(
            f"missing Python packages: {', '.join(missing)}. Run pip install -e '.[gpu]'{hint}"
        )
    env = _environment(settings)
    fd = listening.fileno()
    modules: list[tuple[str, list[str], list[int]]] = [
        ("API", ["cli.main", "api", "--fd", str(fd)], [fd]),
        ("CPU worker", ["workers.cpu"], []),
    ]
    if model_worker:
        modules.append(("model worker", ["workers.gpu"], []))
    if model_worker and settings.chat_model:
        modules.append(("chat worker", ["workers.chat"], []))
    return [
        Command(
            name,
            module_command(*argv),
            env=env,
            log=None if log_dir is None else log_dir / f"{name.lower().replace(' ', '-')}.log",
            keep_fds=fds,
        )
        for name, argv, fds in modules
    ]


def _environment(settings: Settings) -> dict[str, str]:
    """Return what a command line or the demo may have set otherwise than our own environment."""
    own = {name: getattr(settings, name) for name in _CARRIED}
    own["data_dir"] = settings.data_dir.absolute()
    return {f"{PREFIX}{name.upper()}": str(value) for name, value in own.items()}


def prepare_database(settings: Settings) -> None:
    """Bring an embedded database to this release's schema; a server's is only checked, since others may use it.

    Raises ``DatabaseUnavailable`` or ``SchemaOutdated`` with what to do.
    """
    from db.database import Database
    from db.upgrade import check_schema, upgrade

    database = Database(settings.resolved_database_url)
    try:
        database.check()
        if database.is_sqlite:
            upgrade(database)
        else:
            check_schema(database)
    finally:
        database.close()


def check_models(settings: Settings, *, chat: bool | None = None) -> None:
    """Raise ``NoModel`` for a model that no worker could load: it would end and start again for ever.

    ``chat`` says which of the two to look at; None is both.
    """
    from cli.doctor import Level, examine_models

    for finding in examine_models(settings):
        if finding.level is Level.FAIL and chat in (None, finding.what == "chat model"):
            raise NoModel(f"{finding.what}: {finding.fact}: {finding.fix}")


def check_device(settings: Settings) -> None:
    """Raise ``InvalidSettings`` for a GPU that is named and not there; torch is asked only where one is named."""
    if settings.device.startswith("cuda"):
        check_gpu(settings.device, count_devices())


def check_keys(settings: Settings, host: str) -> bool:
    """Return whether requests need keys on this address; raises ``NoKeys`` where they do and nobody has one.

    A database that does not answer is no reason to refuse: without it no request gets in either.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from api.tenancy import is_loopback
    from db.database import Database
    from db.keys import any_live_key

    loopback = is_loopback(host)
    if loopback and not settings.require_keys:
        return False
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            found = any_live_key(session)
    except SQLAlchemyError:
        return True
    finally:
        database.close()
    if not found:
        where = "EARWITNESS_REQUIRE_KEYS is set" if loopback else f"{host} is reached from other machines"
        hint = "" if loopback else ", or listen on 127.0.0.1"
        raise NoKeys(
            f"{where}, and there is no API key: make one with `earwitness keys create --tenant NAME`{hint}"
        )
    return True


def wait_until_ready(
    client: ApiClient,
    supervisor: Supervisor,
    *,
    stopped: Callable[[], bool] = lambda: False,
    seconds: float = READY_SECONDS,
) -> bool:
    """Wait for the API, while the supervisor looks after the processes; False when ``stopped`` came first.

    Each answer that it is not ready yet is lines in the log, so that it is asked ever less often. Raises
    ``NotReadyInTime`` with what was not ready.
    """
    end = time.monotonic() + seconds
    why, pause = "", LOOK_SECONDS
    while True:
        try:
            client.check_ready()
            return True
        except ApiUnreachable as error:
            why = why or str(error)  # what a part said before tells more
        except ApiProblem as error:
            why, pause = _parts(error), min(1.5 * pause, LONGEST_ASK_SECONDS)
        ask_at = time.monotonic() + pause
        while time.monotonic() < ask_at:
            if stopped():
                return False
            if time.monotonic() > end:
                raise NotReadyInTime(
                    f"the API at {client.url} is not ready after {seconds:.0f} s: {why}. Ask `earwitness doctor`"
                )
            supervisor.poll()
            time.sleep(LOOK_SECONDS)


def _parts(error: ApiProblem) -> str:
    """Return what the parts that are not ready say, in one line."""
    parts = [f"{one['field']}: {one['message']}" for one in error.problem.get("errors", [])]
    return "; ".join(parts) or str(error.problem.get("detail") or error.problem.get("code"))
