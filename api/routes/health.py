"""Say whether the process lives, and whether it can serve."""

from __future__ import annotations

import asyncio
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

LOOK_SECONDS = 3.0  # less than those who ask wait for an answer

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """That a process lives."""

    status: str = Field(description="Always `ok`: a process that is not would not answer.", examples=["ok"])


class Readiness(BaseModel):
    """That a process can serve."""

    status: str = Field(description="Always `ready`; otherwise the answer is a problem.", examples=["ready"])
    parts: list[str] = Field(description="What was asked.", examples=[["database", "schema", "storage"]])


# HEAD: what many load balancers ask with.
@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", summary="Does the process live?")
async def check_health() -> Health:
    """Answer without touching anything else."""
    return Health(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    summary="Can it serve?",
    responses={503: {"model": Problem, "description": "A part does not answer; `errors` says which."}},
)
async def check_readiness(services: Wired) -> Readiness:
    """Ask the database, its schema and the object storage, all at once."""
    facts = await asyncio.gather(*(_ask(services, part) for part in _CHECKS))
    failing = {part: fact for part, fact in zip(_CHECKS, facts, strict=True) if fact is not None}
    if failing:
        raise NotReady(failing)
    return Readiness(status="ready", parts=list(_CHECKS))


async def _ask(services: Services, part: str) -> str | None:
    try:
        return await services.looking.ask(part, partial(_CHECKS[part], services), LOOK_SECONDS)
    except TimeoutError:
        logger.warning("not ready: no answer about the %s within %.1f s", part, LOOK_SECONDS)
        return f"{_SILENT[part]} within {LOOK_SECONDS:.0f} s"
    except Exception as error:  # noqa: BLE001  # it becomes what is said, and stands in the log
        return type(error).__name__


def _check_database(services: Services) -> str | None:
    try:
        services.database.check()
    except (DatabaseUnavailable, SQLAlchemyError) as error:
        logger.warning("not ready: %s", error)
        return _SILENT["database"]
    return None


def _check_schema(services: Services) -> str | None:
    try:
        check_schema(services.database)
    except SchemaOutdated as error:
        return str(error)
    except SQLAlchemyError:
        return _SILENT["schema"]
    return None


def _check_storage(services: Services) -> str | None:
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


_SILENT = {
    "database": "the database does not answer",
    "schema": "unknown: the database does not answer",
    "storage": "the object storage does not answer",
}

_CHECKS: Mapping[str, Callable[[Services], str | None]] = {
    "database": _check_database,
    "schema": _check_schema,
    "storage": _check_storage,
}
