"""Hold what the routes work with: settings, database, object storage, doorbell."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Any, TypeVar, cast

from anyio import CapacityLimiter, to_thread
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

STORAGE_THREADS = 8  # that work on uploads and dry runs: a storage that hangs takes no others

Done = TypeVar("Done")


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
    looking: Looking = field(default_factory=Looking)  # at what may hang
    storage_threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(STORAGE_THREADS))

    @cached_property
    def key_secret(self) -> bytes:
        """The secret under which keys are hashed; made when it is first wanted."""
        return load_key_secret(self.settings)

    async def at_storage(self, work: Callable[..., Done], *args: Any) -> Done:
        """Do what waits for the object storage, in a thread that no other request needs."""
        return await to_thread.run_sync(work, *args, limiter=self.storage_threads)

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
