"""Count and time every request by its route, and write one line about it under its id."""

from __future__ import annotations

import logging
import time
import uuid

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import RequestMetrics
from settings.logs import about

logger = logging.getLogger(__name__)

_JOBS = "/v1/jobs/"
NO_ROUTE = "none"  # one label for all paths that lead nowhere: anybody can make up as many as he likes


class RequestLog:
    """Stand behind ``RequestIds``. Reads are logged at DEBUG, since who waits for a job asks twice a second."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500  # of what ends with an exception
        location = ""

        async def send_and_note(message: Message) -> None:
            nonlocal status, location
            if message["type"] == "http.response.start":
                status = message["status"]
                location = Headers(raw=message["headers"]).get("location", "")
            await send(message)

        began = time.perf_counter()
        with about(request=scope.get("state", {}).get("request_id")):
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                seconds = time.perf_counter() - began
                route = getattr(scope.get("route"), "path", NO_ROUTE)
                self._metrics.note(scope["method"], route, status, seconds)
                level = logging.DEBUG if scope["method"] in ("GET", "HEAD") and status < 500 else logging.INFO
                with about(job=_job_of(scope, location)):
                    logger.log(level, "%s %s: %d in %.0f ms", scope["method"], route, status, 1000 * seconds)


def _job_of(scope: Scope, location: str) -> str | None:
    """Return the job that was made, or else the one that the path names, if it can be one.

    Anybody can write anything into a path.
    """
    made = location.removeprefix(_JOBS)
    named = made if made != location else scope.get("path_params", {}).get("job_id", "")
    try:
        return str(uuid.UUID(named))  # as we write it: UUID also takes line breaks around one
    except ValueError:
        return None
