"""Refuse bodies that are too large, by their declared length and by counting what arrives."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1024 * 1024
MULTIPART_OVERHEAD_BYTES = 64 * 1024  # boundaries and part headers around an upload


class BodyTooLarge(HTTPException):
    """The body is larger than this route takes."""

    code = "body_too_large"
    retryable = False

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"the body is larger than {limit_bytes} bytes")


class BodyLimit:
    """Raise ``BodyTooLarge`` from the receiving side, which also covers bodies of no declared length.

    ``uploads`` is the path of the one route with a limit of its own.
    """

    def __init__(self, app: ASGIApp, *, uploads: str, max_upload_bytes: int) -> None:
        self._app, self._uploads = app, uploads
        self._max_upload_bytes = max_upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope)
        declared = Headers(scope=scope).get("content-length", "")
        too_large = declared.isdecimal() and int(declared) > limit
        received = 0

        async def receive_counted() -> Message:
            # Raised here and not by the middleware, so that the error table answers as it does for everything.
            nonlocal received
            if too_large:
                raise BodyTooLarge(limit)
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise BodyTooLarge(limit)
            return message

        await self._app(scope, receive_counted, send)

    def _limit(self, scope: Scope) -> int:
        if scope["path"].endswith(self._uploads):  # a proxy's prefix may stand in front
            return self._max_upload_bytes + MULTIPART_OVERHEAD_BYTES
        return MAX_BODY_BYTES
