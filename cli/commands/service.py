"""Start the service, or one of its processes."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.client import ApiClient
from cli.errors import MissingPackages
from cli.terminal import our_name, say
from settings import InvalidSettings, Settings, load_settings
from settings.logs import configure_logging, say_last

PAUSE_SECONDS = 0.2  # between two looks at the processes
MARGIN_SECONDS = 10.0  # for workers to give back what did not end within their own grace


class WorkerKind(StrEnum):
    """What a worker process does."""

    CPU = "cpu"  # decode, plan, finish
    GPU = "gpu"  # hear
    CHAT = "chat"  # answer free questions


def up(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; 0 picks a free one.", min=0, max=65535)
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder of the database and the objects.", file_okay=False)
    ] = None,
    model_worker: Annotated[
        bool, typer.Option("--model-worker/--no-model-worker", help="Whether to run the model here.")
    ] = True,
) -> None:
    """Start the API and the workers, and keep them running until Ctrl-C or SIGTERM."""
    from cli.service import (
        check_device,
        check_keys,
        check_models,
        listen,
        prepare_database,
        service_commands,
        url_of,
        wait_until_ready,
    )
    from cli.supervisor import Supervisor

    settings = _settings(api_host=host, api_port=port, data_dir=data_dir)
    tell = _teller(settings)
    with _stop_on_signals() as stop, listen(settings.api_host, settings.api_port) as listening:
        commands = service_commands(settings, listening, model_worker=model_worker)
        if model_worker:
            check_models(settings)
            check_device(settings)
        prepare_database(settings)
        check_keys(settings, listening.getsockname()[0])
        supervisor = Supervisor(commands, tell=tell)
        url = url_of(listening)
        try:
            supervisor.start()
            with ApiClient(url) as client:
                if wait_until_ready(client, supervisor, stopped=stop.is_set):
                    _greet(settings, url, model_worker, tell)
            while not stop.wait(PAUSE_SECONDS):
                supervisor.poll()
            tell("stopping")
        finally:
            supervisor.stop(settings.drain_seconds + MARGIN_SECONDS)
    tell("stopped")


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=0, max=65535)] = None,
    fd: Annotated[int | None, typer.Option(help="An inherited listening socket.", hidden=True)] = None,
) -> None:
    """Run the API alone."""
    from cli.serving import serve_api

    serve_api(_settings(api_host=host, api_port=port), fd)


def worker(
    kind: Annotated[
        WorkerKind | None,
        typer.Option(help="cpu: decode, plan, finish. gpu: hear. chat: free questions. With --gpus: gpu."),
    ] = None,
    gpus: Annotated[
        str | None,
        typer.Option(help="One model worker on each GPU, kept running: all, or numbers as in 0,1."),
    ] = None,
) -> None:
    """Run one worker alone, or one on each GPU."""
    if gpus is not None:
        if kind is WorkerKind.CPU:
            raise typer.BadParameter("a CPU worker uses no GPU: leave --gpus out", param_hint="--gpus")
        _work_on(gpus, kind or WorkerKind.GPU)
        return
    if kind is None:
        raise typer.BadParameter(
            f"give one of {', '.join(map(repr, map(str, WorkerKind)))}", param_hint="--kind"
        )
    if kind is not WorkerKind.CPU:
        from cli.service import check_models

        try:
            check_models(load_settings(), chat=kind is WorkerKind.CHAT)
        except InvalidSettings as error:  # in the form of a worker's log, and with a worker's exit code
            say_last(f"{kind} worker: {error}")
            raise typer.Exit(2) from None
    from cli.supervisor import module_command

    os.execv(sys.executable, module_command(f"workers.{kind}"))  # noqa: S606 - one of our own modules


def _work_on(gpus: str, kind: WorkerKind) -> None:
    """Keep a worker running on each GPU until a signal comes; raises ``CliError`` for what cannot start."""
    from cli.gpus import choose_gpus, list_gpus, worker_commands
    from cli.service import MODEL_PACKAGES, check_models, missing_packages
    from cli.supervisor import Supervisor

    if missing := missing_packages(MODEL_PACKAGES):
        raise MissingPackages(f"missing Python packages: {', '.join(missing)}. Run pip install -e '.[gpu]'")
    settings = load_settings()  # a wrong value is said once, and not by every worker
    check_models(settings, chat=kind is WorkerKind.CHAT)
    tell = _teller(settings)
    with _stop_on_signals() as stop:
        commands = worker_commands(kind, choose_gpus(gpus, list_gpus()))
        supervisor = Supervisor(commands, tell=tell)
        try:
            supervisor.start()
            tell(f"started {', '.join(supervisor.pids)}")
            while not stop.wait(PAUSE_SECONDS):
                supervisor.poll()
            tell("stopping")
        finally:
            supervisor.stop(settings.drain_seconds + MARGIN_SECONDS)
    tell("stopped")


def _settings(**overrides: Any) -> Settings:
    return load_settings(**{name: value for name, value in overrides.items() if value is not None})


def _teller(settings: Settings) -> Callable[[str], None]:
    """Return what tells of the processes: where the log is JSON, our lines among theirs are JSON too."""
    if settings.log != "json":
        return say
    configure_logging(settings.log_level, "json")
    logger = logging.getLogger("cli.service")
    return lambda message: logger.log(max(logging.INFO, logger.getEffectiveLevel()), message)


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and Ctrl-C set; the handlers that were there come back afterwards."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _greet(settings: Settings, url: str, model_worker: bool, tell: Callable[[str], None]) -> None:
    """Say where everything is, each in a line that can be copied."""
    from sqlalchemy import make_url

    database = make_url(settings.resolved_database_url)
    heard_by = settings.model + (" (untrained: it says noise)" if settings.model == "tiny" else "")
    facts = {
        "API": url,
        "documentation": f"{url}/docs",
        "database": (database.database if not settings.database_url else None) or repr(database),
        "objects": settings.resolved_storage_url,
        **({"chat model": settings.chat_model} if settings.chat_model and model_worker else {}),
        "model": heard_by if model_worker else "none here: run `earwitness worker --kind gpu`",
        "try": f"{our_name()} submit RECORDING --task transcribe --wait --api {url}",
    }
    for name, fact in facts.items():
        tell(f"{name:15}{fact}")
