"""Hold what the routes work with: settings, database, object storage, doorbell."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, cast

from fastapi import Depends, Request

from api.accepting import Accepting
from api.admission import Admission
from api.doorbell import Doorbell
from api.dry_run_places import DryRunPlaces
from api.in_flight import InFlight
from api.looking import Looking
from api.served import ServedModels
from db.database import Database
from db.states import PassKind
from settings import Settings
from settings.key_secret import load_key_secret
from storage import ObjectStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Services:
    """What one API process was wired with; shared by all of its threads."""

    settings: Settings
    database: Database
    store: ObjectStore
    doorbell: Doorbell
    keys_required: bool = False  # else requests without one are of the tenant ``default``
    admission: Admission = field(default_factory=Admission)
    accepting: Accepting = field(default_factory=Accepting)
    in_flight: InFlight = field(default_factory=InFlight)
    dry_runs: DryRunPlaces = field(default_factory=DryRunPlaces)
    served: ServedModels = field(default_factory=ServedModels)
    looking: Looking = field(default_factory=Looking)  # at the object storage

    @cached_property
    def key_secret(self) -> bytes:
        """The secret under which keys are hashed; made when it is first wanted."""
        return load_key_secret(self.settings)

    def ring(self, kind: PassKind, count: int) -> None:
        """Wake workers. The work is stored: a broken bell must not make the client believe that it is not."""
        if not count:
            return
        try:
            self.doorbell.ring(kind, count=count)
        except Exception as error:  # noqa: BLE001  # it becomes a line in the log; workers poll
            logger.warning("the doorbell failed (%s); workers poll meanwhile", error)


async def get_services(request: Request) -> Services:
    """Return what ``create_app`` wired, for a route's parameter; async, so that it costs no step into a thread."""
    return cast("Services", request.app.state.services)


Wired = Annotated[Services, Depends(get_services)]
"""A route's parameter of this type is the process's services."""
