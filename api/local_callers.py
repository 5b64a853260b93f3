"""Refuse what a web page sends to a service that asks for no key, which is there for programs of this machine alone.

A browser on this machine reaches loopback addresses for any page that it shows: a form can post there, and a page whose
own name is made to lead to 127.0.0.1 (DNS rebinding) reads the answers too. Such requests bear the page's name.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import Failure, problem_response
from api.tenancy import is_loopback

_REFUSED = Failure(
    403,
    "not_local",
    "This service is for its own machine",
    "Without keys only requests to 127.0.0.1, ::1 or localhost are taken, and none of a web page elsewhere. To be "
    "reached under another name, as behind a proxy, set EARWITNESS_REQUIRE_KEYS=true and send a key.",
)


class LocalCallers:
    """Let through what is addressed to this machine by a program of it, or shows a key."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and not _is_local(Headers(scope=scope)):
            await problem_response(Request(scope), _REFUSED)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_local(headers: Headers) -> bool:
    if "authorization" in headers:
        return True  # the key decides, and no page can guess one
    origin = headers.get("origin")
    return _names_us(f"//{headers.get('host', 'localhost')}") and (origin is None or _names_us(origin))


def _names_us(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False
