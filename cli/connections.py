"""Take requests from connections within limits: a head that does not end, and a client that falls silent, are let go.

Whoever reaches the port can open connections, also without a key. The server below us waits for ever for the rest of
a request, and puts a header together piece by piece, which takes quadratic time in the one thread that answers all.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024  # of a request line with all headers, without the read in which it begins
HEAD_SECONDS = 20.0  # from the connection, or from a head's first byte, to its last
SILENT_SECONDS = 60.0  # without a byte of a body that is not there yet, or of an answer taken
LOOK_SECONDS = 5.0  # between two looks at a connection

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _Owed(Enum):
    """What the client has to send."""

    HEAD = auto()
    BODY = auto()
    NOTHING = auto()  # we answer, or uvicorn's own timer runs until the next request


class BoundedConnection(HttpToolsProtocol):
    """One connection of uvicorn's, with an end to its patience."""

    _owed = _Owed.HEAD
    _head_bytes = 0
    _head_began_at = 0.0
    _moved_at = 0.0
    _unsent_bytes = 0  # of an answer, at the last look
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._head_began_at = self._moved_at = self.loop.time()
        self._timer = self.loop.call_later(LOOK_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came; a head that is too large is answered with 431."""
        now = self._moved_at = self.loop.time()
        if self._owed is _Owed.NOTHING and self.cycle.response_complete:
            self._begin_head(now)  # empty lines may stand before a request, and end uvicorn's own waiting
        self._head_bytes += len(data)  # a head that begins in this read counts from the next one
        super().data_received(data)
        if self._owed is _Owed.HEAD and self._head_bytes > MAX_HEAD_BYTES:
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """Wait for the rest of a head."""
        self._begin_head(self.loop.time())
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Wait for a body."""
        self._owed = _Owed.BODY
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Wait for nothing."""
        self._owed = _Owed.NOTHING
        super().on_message_complete()

    def _begin_head(self, now: float) -> None:
        self._owed, self._head_bytes, self._head_began_at = _Owed.HEAD, 0, now

    def _look(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent_bytes:
            self._unsent_bytes, self._moved_at = unsent, self.loop.time()
        if self._keeps_us_waiting(self.loop.time()):
            self.transport.abort()
        else:
            self._timer = self.loop.call_later(LOOK_SECONDS, self._look)

    def _keeps_us_waiting(self, now: float) -> bool:
        if self._owed is _Owed.HEAD:
            return now - self._head_began_at > HEAD_SECONDS
        # While reading is paused it is we who do not keep up.
        sends_no_body = self._owed is _Owed.BODY and not self.flow.read_paused
        return (sends_no_body or self.flow.write_paused) and now - self._moved_at > SILENT_SECONDS
