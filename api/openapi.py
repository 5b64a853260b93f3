"""Describe the API in OpenAPI: problems have their own media type, and operations plain names."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.idempotency import HEADER
from api.problems import MEDIA_TYPE, Problem

DESCRIPTION = """
Submit recordings, ask what to find out about them, and query what was heard.

1. Upload files (`POST /v1/uploads`), or use objects that lie in S3.
2. Submit a job (`POST /v1/jobs`): sources and tasks.
3. Watch it (`GET /v1/jobs/{job_id}`), and read what was found, here or by SQL.

Where a key is needed, *Authorize* takes it (of `/v1/workers`, `/v1/queue` and `/metrics`: the operators' token).

Every error is a problem document (RFC 9457) with a stable `code`.
""".strip()

EVERYWHERE: dict[int | str, dict[str, Any]] = {
    422: {"model": Problem, "description": "The request is not valid; `errors` names the fields."},
    503: {"model": Problem, "description": "The database or the object storage does not answer; try again."},
}

KEYED: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "No key that works was sent: `Authorization: Bearer KEY`."},
}


_WITH_BODY = {
    "400": "The body cannot be read: it is cut off, no UTF-8, or nested too deeply.",
    "413": "The body is too large.",
}
_WITH_KEY = {"409": "A request with this idempotency key is under way; see Retry-After."}


def operation_name(route: APIRoute) -> str:
    """Return a route's operation id: the name of its function."""
    return route.name


def describe_problems(app: FastAPI) -> None:
    """Let ``app.openapi`` show problems under the media type that they are sent with, and where a key is taken.

    Problems that come with a body or an idempotency key are shown wherever there is one.
    """
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            schema["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
            for operations in schema["paths"].values():
                for operation in operations.values():
                    _add_common(operation)
                    _name_media_type(operation["responses"])
                    if {"401", "403"} & operation["responses"].keys():
                        operation["security"] = [{}, {"bearer": []}]  # {}: on loopback it goes without
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document


def _name_media_type(responses: dict[str, Any]) -> None:
    for status, response in responses.items():
        if int(status) >= 400:
            response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}


def _add_common(operation: dict[str, Any]) -> None:
    """Add the problems of what an operation takes; what its route says of the same status stays."""
    parameters = {parameter["name"] for parameter in operation.get("parameters", ())}
    common = {
        **(_WITH_BODY if "requestBody" in operation else {}),
        **(_WITH_KEY if HEADER in parameters else {}),
    }
    schema = {"application/json": {"schema": {"$ref": f"#/components/schemas/{Problem.__name__}"}}}
    for status, description in common.items():
        operation["responses"].setdefault(status, {"description": description, "content": dict(schema)})
