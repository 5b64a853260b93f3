"""Say whether the process lives, and whether it can serve."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial

from fastapi import APIRouter
from pydantic import BaseModel, Field
from sqlalchemy.exc import SQLAlchemyError

from api.problems import NotReady, Problem
from api.services import Services, Wired
from db.database import DatabaseUnavailable
from db.upgrade import SchemaOutdated, check_schema
from storage import InputNotFound, StorageError, StorageMisconfigured, join

logger = logging.getLogger(__name__)

STORAGE_SECONDS = 3.0  # less than those who ask wait for an answer

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """That a process lives."""

    status: str = Field(description="Always `ok`: a process that is not would not answer.", examples=["ok"])


class Readiness(BaseModel):
    """That a process can serve."""

    status: str = Field(description="Always `ready`; otherwise the answer is a problem.", examples=["ready"])
    parts: list[str] = Field(description="What was asked.", examples=[["database", "schema", "storage"]])


@router.get("/healthz", summary="Does the process live?")
async def check_health() -> Health:
    """Answer without touching anything else."""
    return Health(status="ok")


@router.get(
    "/readyz",
    summary="Can it serve?",
    responses={503: {"model": Problem, "description": "A part does not answer; `errors` says which."}},
)
def check_readiness(services: Wired) -> Readiness:
    """Ask the database, its schema and the object storage."""
    failing = {part: fact for part, check in _CHECKS.items() if (fact := check(services)) is not None}
    if failing:
        raise NotReady(failing)
    return Readiness(status="ready", parts=list(_CHECKS))


def _check_database(services: Services) -> str | None:
    try:
        services.database.check()
    except (DatabaseUnavailable, SQLAlchemyError) as error:
        logger.warning("not ready: %s", error)
        return "the database does not answer"
    return None


def _check_schema(services: Services) -> str | None:
    try:
        check_schema(services.database)
    except SchemaOutdated as error:
        return str(error)
    except SQLAlchemyError:
        return "unknown: the database does not answer"
    return None


def _check_storage(services: Services) -> str | None:
    try:
        return services.looking.ask(partial(_look_at_storage, services), STORAGE_SECONDS)
    except TimeoutError:
        logger.warning("not ready: the storage did not answer within %.1f s", STORAGE_SECONDS)
        return f"the object storage does not answer within {STORAGE_SECONDS:.0f} s"


def _look_at_storage(services: Services) -> str | None:
    """Look for an object that nobody wrote: that it alone is missing is an answer."""
    probe = join(services.settings.resolved_storage_url, "uploads", "is-it-there")
    try:
        services.store.head(probe)
    except InputNotFound:
        return None
    except StorageMisconfigured as error:
        logger.warning("not ready: %s", error)
        return f"the object storage cannot be used: check EARWITNESS_STORAGE_URL and its credentials ({error.code})"
    except StorageError as error:
        logger.warning("not ready: %s", error)
        return f"the object storage does not answer as it should ({error.code})"
    return None


_CHECKS: Mapping[str, Callable[[Services], str | None]] = {
    "database": _check_database,
    "schema": _check_schema,
    "storage": _check_storage,
}
