"""Describe errors as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from fastapi import Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.request_ids import HEADER, request_id_of

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:earwitness:problem:"


class FieldProblem(BaseModel):
    """What is wrong with one field of a request, or with one part of the service."""

    field: str = Field(description="Path of the field in the body, or the name of a parameter.")
    message: str = Field(description="What is wrong with it.")


class Problem(BaseModel):
    """An error, in the form of RFC 9457."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": f"{TYPE_PREFIX}invalid_request",
                "title": "The request is not valid",
                "status": 422,
                "detail": "tasks[0].options.language: Input should be 'en', 'zh', 'de', 'es', 'ko', 'fr', 'ja' or 'it'",
                "code": "invalid_request",
                "errors": [
                    {
                        "field": "tasks[0].options.language",
                        "message": "Input should be 'en', 'zh', 'de', 'es', 'ko', 'fr', 'ja' or 'it'",
                    }
                ],
                "request_id": "0198f0a1-7c5e-7000-8000-000000000001",
            }
        }
    )

    type: str = Field(description="A URI that names the kind of problem; ends with `code`.")
    title: str = Field(description="The kind of problem in words; the same for each `code`.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened here, and what to do.")
    code: str = Field(description="The kind of problem for programs; stable.")
    errors: list[FieldProblem] = Field(description="The fields that are wrong; empty for most problems.")
    request_id: str = Field(description="The id of this request, which our log has too.")


@dataclass(frozen=True)
class Failure:
    """An error on its way to the client."""

    status: int
    code: str
    title: str
    detail: str
    errors: Sequence[FieldProblem] = ()
    headers: Mapping[str, str] = field(default_factory=dict)


class NotReady(Exception):
    """A part of the service does not answer; ``parts`` says which, and why."""

    code = "not_ready"
    retryable = True

    def __init__(self, parts: Mapping[str, str]) -> None:
        super().__init__(f"not ready: {', '.join(parts)}")
        self.parts = dict(parts)


class InvalidField(Exception):
    """A field is wrong in a way that only reading the body could show."""

    code = "invalid_request"
    retryable = False

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def problem_response(request: Request, failure: Failure) -> JSONResponse:
    """Render a failure."""
    request_id = request_id_of(request)
    problem = Problem(
        type=f"{TYPE_PREFIX}{failure.code}",
        title=failure.title,
        status=failure.status,
        detail=failure.detail,
        code=failure.code,
        errors=list(failure.errors),
        request_id=request_id,
    )
    # The id is set here too: the answer to an unexpected error does not pass the middleware that sets it.
    headers = {**failure.headers, HEADER: request_id}
    return JSONResponse(problem.model_dump(), failure.status, headers, MEDIA_TYPE)


def title_of_status(status: int) -> str:
    """Return the standard words for a status."""
    return HTTPStatus(status).phrase
