"""Let operators, and nobody else, look at the service as a whole: all tenants' queues, the workers, the metrics.

With ``EARWITNESS_OPERATOR_TOKEN`` set, whoever shows it may look. Without one, only this machine may, and only
directly: a request that a proxy forwarded comes from anywhere.
"""

from __future__ import annotations

import hmac
from ipaddress import ip_address

from fastapi import Depends, Request

from api.services import Wired

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class NotAnOperator(Exception):
    """The request may not see the service as a whole."""

    code = "not_an_operator"
    retryable = False


async def check_operator(request: Request, services: Wired) -> None:
    """Raise ``NotAnOperator`` unless the request shows the token, or comes from this machine where there is none."""
    token = services.settings.operator_token
    if token:
        shown = request.headers.get("authorization", "")
        if hmac.compare_digest(shown.encode(), f"Bearer {token.get_secret_value()}".encode()):
            return
        raise NotAnOperator("show EARWITNESS_OPERATOR_TOKEN as `Authorization: Bearer TOKEN`")
    if not _is_direct_and_local(request):
        raise NotAnOperator(
            "only the machine of the service may see this; set EARWITNESS_OPERATOR_TOKEN for others"
        )


def _is_direct_and_local(request: Request) -> bool:
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ip_address(request.client.host).is_loopback
    except ValueError:
        return False  # such as the name of a socket's file


Operator = Depends(check_operator)
"""A router or route with this dependency is for operators only."""
