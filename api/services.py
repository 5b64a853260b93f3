"""Hold what the routes work with: settings, database, object storage, doorbell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from api.doorbell import Doorbell
from db.database import Database
from settings import Settings
from storage import ObjectStore


@dataclass(frozen=True)
class Services:
    """What one API process was wired with; shared by all of its threads."""

    settings: Settings
    database: Database
    store: ObjectStore
    doorbell: Doorbell


def get_services(request: Request) -> Services:
    """Return what ``create_app`` wired, for a route's parameter."""
    return cast("Services", request.app.state.services)


Wired = Annotated[Services, Depends(get_services)]
"""A route's parameter of this type is the process's services."""
