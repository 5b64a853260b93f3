"""Run the API in this process, until SIGTERM."""

from __future__ import annotations

import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from api.app import create_app
from cli.connections import BoundedConnection
from cli.service import check_keys
from settings import Settings
from settings.logs import configure_logging
from workers.doorbell import open_doorbell

GRACE_SECONDS = 5  # for requests that are under way


def serve_api(settings: Settings, fd: int | None = None) -> None:
    """Listen on the inherited socket ``fd``, or else on the host and port of the settings; raises ``NoKeys``."""
    configure_logging(settings.log_level, settings.log)
    listening = socket.socket(fileno=fd) if fd is not None else None
    host = settings.api_host if listening is None else listening.getsockname()[0]
    keys_required = check_keys(settings, host)
    doorbell = open_doorbell(settings)
    app = create_app(
        settings, doorbell=doorbell, keys_required=keys_required, local_callers_only=not keys_required
    )
    config = server_config(settings, app)
    # uvicorn stops on a signal and then raises it once more: without a handler we would die by it, exit code and all.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.Server(config).run(None if listening is None else [listening])
    finally:
        doorbell.close()


def server_config(settings: Settings, app: ASGIApp) -> uvicorn.Config:
    """Return how the API is served."""
    return uvicorn.Config(
        app,
        host=settings.api_host,
        port=settings.api_port,
        http=BoundedConnection,
        ws="none",
        log_config=None,
        access_log=False,  # ``api.request_log`` writes it, with the request's id and without query strings
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
