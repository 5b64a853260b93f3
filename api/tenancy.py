"""Say whose request this is, by its API key: one place for all routes."""

from __future__ import annotations

import ipaddress
import logging
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import SQLAlchemyError

from api.services import Services, Wired
from db.keys import KeyUse, find_key, stamp_key

DEFAULT_TENANT = "default"

logger = logging.getLogger(__name__)


class Unauthorized(Exception):
    """The request has no key that works."""

    code = "unauthorized"
    retryable = False


async def current_tenant(request: Request, services: Wired) -> str:
    """Return the tenant of the request; raises ``Unauthorized``.

    Where no key is needed, a request without one is of the tenant ``default``; one that shows a key is always asked.
    """
    header = request.headers.get("authorization")
    if header is None and not services.keys_required:
        return DEFAULT_TENANT
    return await run_in_threadpool(_tenant_of, services, header or "")


def _tenant_of(services: Services, header: str) -> str:
    scheme, _, key = header.partition(" ")
    with services.database.read() as session:
        use = find_key(session, key.strip() if scheme.lower() == "bearer" else "", services.key_secret)
    if use is None:
        raise Unauthorized("no key that works was sent")
    if use.stamp:
        _stamp(services, use)
    return use.tenant


def _stamp(services: Services, use: KeyUse) -> None:
    try:
        with services.database.write() as session:
            stamp_key(session, use)
    except SQLAlchemyError as error:  # the request is worth more than the note
        logger.warning("the use of a key could not be written down: %s", error)


def is_loopback(host: str) -> bool:
    """Say whether an address that the service listens on is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


Tenant = Annotated[str, Depends(current_tenant)]
"""A route's parameter of this type is the tenant that every query is bound to."""
