"""Wire the API: services, routes, limits and error handlers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline

from api.body_limit import BodyLimit
from api.doorbell import Doorbell, SilentDoorbell
from api.errors import add_error_handlers
from api.local_callers import LocalCallers
from api.metrics import ServiceMetrics
from api.openapi import DESCRIPTION, EVERYWHERE, KEYED, describe_problems, operation_name
from api.request_ids import RequestIds
from api.request_log import RequestLog
from api.routes import failures, health, job_actions, jobs, operations, recordings, tasks, uploads, webhooks
from api.services import Services
from api.tenancy import current_tenant, is_loopback
from db.database import Database
from settings import Settings
from storage import ObjectStore, S3Options, open_store

VERSION = "0.1.0"
THREADS = 12  # that work on requests, beside those of ``Services.at_storage``


def create_app(
    settings: Settings,
    *,
    database: Database | None = None,
    store: ObjectStore | None = None,
    doorbell: Doorbell | None = None,
    keys_required: bool | None = None,
    local_callers_only: bool = False,
) -> FastAPI:
    """Return the application. What is not given is opened when it starts, and closed when it ends.

    Keys are required unless it listens on a loopback address; ``keys_required`` is for who knows the socket.
    ``local_callers_only`` refuses what is addressed to another name than this machine's own, unless it shows a key.

    Starting does not wait for the database or the storage: ``/readyz`` says whether they answer.
    """
    if keys_required is None:
        keys_required = settings.require_keys or not is_loopback(settings.api_host)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Those who wait for a thread are served in the order in which they came; threads that fight are not.
        current_default_thread_limiter().total_tokens = THREADS
        opened = database or Database(settings.resolved_database_url)
        app.state.services = Services(
            settings,
            opened,
            store or _open_store(settings),
            doorbell or SilentDoorbell(),
            keys_required=keys_required,
        )
        yield
        if database is None:
            opened.close()

    app = FastAPIOffline(  # /docs works without the internet
        title="Earwitness",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
        generate_unique_id_function=operation_name,
        responses=EVERYWHERE,
        redirect_slashes=False,
    )
    _add_routes(app)
    app.add_middleware(BodyLimit, uploads=uploads.PATH, max_upload_bytes=settings.max_upload_bytes)
    if local_callers_only:
        app.add_middleware(LocalCallers)
    app.state.metrics = metrics = ServiceMetrics()
    app.add_middleware(RequestLog, metrics=metrics.requests)
    app.add_middleware(RequestIds)
    add_error_handlers(app)
    describe_problems(app)
    return app


def _add_routes(app: FastAPI) -> None:
    for module in (jobs, job_actions, failures, uploads, recordings, webhooks, tasks):
        app.include_router(module.router, dependencies=[Depends(current_tenant)], responses=KEYED)
    for module in (operations, health):
        app.include_router(module.router)


def _open_store(settings: Settings) -> ObjectStore:
    options = S3Options(
        endpoint_url=settings.s3_endpoint_url, region=settings.s3_region, path_style=settings.s3_path_style
    )
    return open_store(settings.resolved_storage_url, roots=settings.file_roots, s3=options)
