"""Tell workers that there is work: a message says only which kind. Losing one costs latency, never work."""

from __future__ import annotations

import logging
import queue
import threading
import time
from typing import Protocol

from sqlalchemy.orm import Session

from db.announcing import announced
from db.states import PassKind
from settings import Settings

logger = logging.getLogger(__name__)

BREAK_SECONDS = 5.0  # after a failure nobody rings for this long: workers poll meanwhile
MOST_RINGS = 64  # for one event; each wakes one worker, and workers go on while there is work


class Doorbell(Protocol):
    """Wake workers of one kind; never raises and never waits for a broker."""

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        """Say that ``count`` passes of this kind and model became ready. Call it after the commit."""

    def close(self) -> None:
        """Send what is waiting, for a moment, and let go."""


class SilentDoorbell:
    """Ring nobody: the embedded workers poll."""

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class CeleryDoorbell:
    """Publish to Celery from a thread of its own, so that a dead broker delays nobody."""

    def __init__(self, broker_url: str) -> None:
        self._broker_url = broker_url
        self._waiting: queue.Queue[tuple[PassKind, str] | None] = queue.Queue(maxsize=1_000)
        self._thread = threading.Thread(target=self._publish_all, name="doorbell", daemon=True)
        self._thread.start()

    def ring(self, kind: PassKind, model: str = "", count: int = 1) -> None:
        """See ``Doorbell``; a full queue drops the ring, since enough others wait."""
        for _ in range(min(count, MOST_RINGS)):
            try:
                self._waiting.put_nowait((kind, model))
            except queue.Full:
                return

    def close(self) -> None:
        """See ``Doorbell``."""
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return
        self._thread.join(timeout=2.0)

    def _publish_all(self) -> None:
        from workers.celery_app import make_app, send_ring

        app = make_app(self._broker_url)
        silent_until = 0.0
        while (ring := self._waiting.get()) is not None:
            if time.monotonic() < silent_until:
                continue
            try:
                send_ring(app, *ring)
            except Exception as error:  # noqa: BLE001  # any broker trouble means the same: workers poll
                silent_until = time.monotonic() + BREAK_SECONDS
                logger.warning("the broker does not answer (%s); workers poll meanwhile", error)


def ring_deliveries(doorbell: Doorbell, session: Session) -> None:
    """Ring for the deliveries that a session opened, after its commit."""
    if count := announced(session):
        doorbell.ring(PassKind.DELIVER, count=count)


def open_doorbell(settings: Settings) -> Doorbell:
    """Return the doorbell for these settings: Celery's when a broker is set, else a silent one."""
    return CeleryDoorbell(settings.broker_url) if settings.broker_url else SilentDoorbell()
