"""Map every exception to a problem, in one table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import compile_path

from api.admission import RETRY_SECONDS, TooManyQueued
from api.body_limit import BodyTooLarge
from api.dry_run_places import RETRY_SECONDS as DRY_RUN_RETRY_SECONDS
from api.dry_run_places import TooManyDryRuns
from api.operators import NotAnOperator
from api.problems import Failure, FieldProblem, InvalidField, NotReady, problem_response, title_of_status
from api.request_ids import request_id_of
from api.served import NoWorker
from api.tenancy import Unauthorized
from db.cancelling import JobOver
from db.database import DatabaseUnavailable
from db.idempotency import KeyInFlight, KeyReused
from db.queries import NotFound
from db.retrying import JobNotOver, NothingToAsk, NothingToRetry
from db.upgrade import SchemaOutdated
from db.webhooks import TooManyWebhooks, WebhookDisabled, WebhookExists
from storage import StorageError, StorageFull, StorageMisconfigured

logger = logging.getLogger(__name__)

RETRY_AFTER = {"Retry-After": "5"}  # seconds

_UNDEFINED_TABLE = "42P01"  # PostgreSQL's code; SQLite has only its message
_CODES_OF_STATUS = {404: "no_such_route", 405: "method_not_allowed", 400: "malformed_body"}


def describe(error: Exception) -> Failure:
    """Return the failure that a client is told of; what is not in the table is ours to answer for."""
    for kind, make in _TABLE:
        if isinstance(error, kind):
            return make(error)
    return Failure(
        500,
        "internal_error",
        "Something went wrong on our side",
        "The error is in the service's log under this request's id.",
    )


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of ``app`` with a problem document."""

    async def handle(request: Request, error: Exception) -> JSONResponse:
        failure = describe(error)
        if failure.status == 405:
            failure = replace(failure, headers={"Allow": ", ".join(_methods_at(app, request.url.path))})
        if failure.status >= 500:
            logger.error("request %s: %s: %s", request_id_of(request), type(error).__name__, error)
        return problem_response(request, failure)

    # Starlette calls the handler of ``Exception`` outermost and raises again, so that the server logs the traceback.
    for kind in (*(kind for kind, _ in _TABLE), Exception):
        app.add_exception_handler(kind, handle)


def _methods_at(app: FastAPI, path: str) -> list[str]:
    """Return the methods that a path takes; the framework names those of the first route that it meets."""
    paths = app.openapi()["paths"]
    fitting = [operations for known, operations in paths.items() if compile_path(known)[0].match(path)]
    return sorted({method.upper() for operations in fitting for method in operations})


def _invalid_request(error: RequestValidationError) -> Failure:
    return _invalid_fields([FieldProblem(field=_path(e["loc"]), message=_message(e)) for e in error.errors()])


def _invalid_field(error: InvalidField) -> Failure:
    return _invalid_fields([FieldProblem(field=error.field, message=str(error))])


def _invalid_fields(errors: Sequence[FieldProblem]) -> Failure:
    detail = "; ".join(f"{e.field}: {e.message}" for e in errors[:3])
    more = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
    return Failure(422, InvalidField.code, "The request is not valid", detail + more, errors[:100])


def _path(location: Sequence[int | str]) -> str:
    """Return ``tasks[0].options.language`` for ``("body", "tasks", 0, "options", "language")``."""
    place, *names = location
    path = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names).lstrip(".")
    return path if names and isinstance(names[0], str) else str(place)


def _message(error: dict[str, Any]) -> str:
    reason = error.get("ctx", {}).get("error")
    if error["loc"] == ("body",) and isinstance(error.get("input"), bytes):
        return "send JSON, with the header Content-Type: application/json"
    if error["type"] == "json_invalid":
        return f"this is no JSON: {reason} at character {error['loc'][-1]}"
    return str(error["msg"])


def _http(error: HTTPException) -> Failure:
    code = _CODES_OF_STATUS.get(error.status_code, "http_error")
    details = {
        404: "There is nothing at this path: see /docs.",
        405: "This path takes other methods: see Allow.",
    }
    detail = details.get(error.status_code, str(error.detail))
    return Failure(
        error.status_code, code, title_of_status(error.status_code), detail, headers=error.headers or {}
    )


def _unauthorized(error: Unauthorized) -> Failure:
    # One text for all: whoever tries keys learns nothing from the answer.
    detail = "Send `Authorization: Bearer KEY` with a key that works; `earwitness keys create` makes one."
    headers = {"WWW-Authenticate": "Bearer"}
    return Failure(401, error.code, "There is no key that works", detail, headers=headers)


def _too_many_queued(error: TooManyQueued) -> Failure:
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return Failure(429, error.code, "Too many recordings are waiting", str(error), headers=headers)


def _too_many_dry_runs(error: TooManyDryRuns) -> Failure:
    headers = {"Retry-After": str(DRY_RUN_RETRY_SECONDS)}
    return Failure(429, error.code, "Too many dry runs are under way", str(error), headers=headers)


def _in_flight(error: KeyInFlight) -> Failure:
    headers = {"Retry-After": "1"}
    return Failure(409, error.code, "The same request is under way", str(error), headers=headers)


def _reused(error: KeyReused) -> Failure:
    return Failure(422, error.code, "The idempotency key was used before", str(error))


def _body_too_large(error: BodyTooLarge) -> Failure:
    return Failure(413, error.code, "The body is too large", str(error.detail))


def _conflict(error: Exception) -> Failure:
    code = str(getattr(error, "code", "conflict"))
    return Failure(409, code, "The job is not in the state for that", str(error))


def _no_worker(error: NoWorker) -> Failure:
    return Failure(
        503, error.code, "No worker serves a model that is needed", str(error), headers=RETRY_AFTER
    )


def _not_an_operator(error: NotAnOperator) -> Failure:
    return Failure(403, error.code, "This is for operators", str(error))


def _not_found(error: NotFound) -> Failure:
    return Failure(404, error.code, "There is no such thing", str(error))


def _webhook_conflict(error: WebhookExists | WebhookDisabled | TooManyWebhooks) -> Failure:
    return Failure(409, error.code, "The webhook's state forbids it", str(error))


def _database(error: Exception) -> Failure:
    # The driver's text may name hosts and users: it goes to the log, not to the client.
    return Failure(
        503,
        DatabaseUnavailable.code,
        "The database does not answer",
        "Nothing was stored. Try again in a moment.",
        headers=RETRY_AFTER,
    )


def _outdated(error: Exception) -> Failure:
    return Failure(
        503,
        SchemaOutdated.code,
        "The database has to be upgraded",
        "Run `earwitness db upgrade`.",
        headers=RETRY_AFTER,
    )


def _database_error(error: DBAPIError) -> Failure:
    missing_table = getattr(error.orig, "sqlstate", None) == _UNDEFINED_TABLE or "no such table" in str(
        error.orig
    )
    if missing_table:
        return _outdated(error)
    if isinstance(error, OperationalError) or error.connection_invalidated:
        return _database(error)
    return describe(RuntimeError())


def _storage(error: StorageError) -> Failure:
    # Its text names the place of the object, which is not the client's affair.
    if isinstance(error, StorageFull):
        detail = "Try again later: whoever runs the service has to make room."
        return Failure(503, error.code, "The object storage is full", detail, headers=RETRY_AFTER)
    if isinstance(error, StorageMisconfigured):
        detail = "Try again later: whoever runs the service has to correct EARWITNESS_STORAGE_URL or its credentials."
        return Failure(503, error.code, "The object storage cannot be used", detail, headers=RETRY_AFTER)
    if error.retryable:
        detail = "Try again in a moment."
        return Failure(503, error.code, "The object storage does not answer", detail, headers=RETRY_AFTER)
    detail = "The object storage refused; `earwitness doctor` on the server says more."
    return Failure(500, error.code, "The object storage refused", detail)


def _not_ready(error: NotReady) -> Failure:
    parts = [FieldProblem(field=part, message=fact) for part, fact in error.parts.items()]
    return Failure(503, error.code, "The service is not ready", str(error), parts, RETRY_AFTER)


def _gone(error: ClientDisconnect) -> Failure:
    return Failure(
        400, "client_disconnected", "The client went away", "The body ended early; nothing was stored."
    )


_TABLE: Sequence[tuple[type[Exception], Callable[[Any], Failure]]] = (
    (RequestValidationError, _invalid_request),
    (InvalidField, _invalid_field),
    (NotFound, _not_found),
    (JobOver, _conflict),
    (JobNotOver, _conflict),
    (NothingToRetry, _conflict),
    (NothingToAsk, _conflict),
    (NotAnOperator, _not_an_operator),
    (NoWorker, _no_worker),
    (Unauthorized, _unauthorized),
    (TooManyQueued, _too_many_queued),
    (TooManyDryRuns, _too_many_dry_runs),
    (KeyInFlight, _in_flight),
    (KeyReused, _reused),
    (WebhookExists, _webhook_conflict),
    (WebhookDisabled, _webhook_conflict),
    (TooManyWebhooks, _webhook_conflict),
    (BodyTooLarge, _body_too_large),
    (HTTPException, _http),
    (DatabaseUnavailable, _database),
    (PoolTimeout, _database),
    (SchemaOutdated, _outdated),
    (DBAPIError, _database_error),
    (StorageError, _storage),
    (NotReady, _not_ready),
    (ClientDisconnect, _gone),
)
"""The first kind that fits decides."""
