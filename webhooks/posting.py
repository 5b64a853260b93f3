"""Post a message to an address of a client's choosing, and never to one inside our own networks.

The host is resolved once, every address that it leads to is looked at, and the connection goes to the address that was
looked at, under the host's own name: a resolver that changes its mind between two questions is only asked one.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore

from webhooks.addresses import is_public
from webhooks.errors import BadAnswer, Refused, RefusedAddress, TimedOut, Unreachable, UnresolvedHost
from webhooks.urls import Target, read_url

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 10.0  # from the name to the end of the answer, however slowly it trickles
MAX_ANSWER_BYTES = 64 * 1024

Resolve = Callable[[str, int], Sequence[str]]
"""(host, port) -> the addresses that it leads to, the best first; raises ``OSError``."""


@dataclass(frozen=True)
class PostOptions:
    """Where messages may go, and how long they may take."""

    allow_private: bool = False
    connect_seconds: float = CONNECT_SECONDS
    total_seconds: float = TOTAL_SECONDS


def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def post(
    url: str, headers: Mapping[str, str], body: bytes, options: PostOptions, *, resolve: Resolve = resolve
) -> int:
    """Post a message and return the status, which is a success; raises the ``WebhookError`` tree.

    No proxy of the environment is used, no redirect is followed, and of the answer nothing is kept but its status.
    """
    target = read_url(url, allow_private=options.allow_private)
    network = _CheckedNetwork(options, resolve)
    try:
        status = _ask(target, headers, body, network, options)
    except httpcore.TimeoutException:
        raise TimedOut(f"the receiver took more than {network.waited():.0f} s") from None
    except (httpcore.ConnectError, httpcore.ReadError, httpcore.WriteError) as error:
        raise Unreachable(f"the connection failed: {_short(error)}") from None
    except httpcore.ProtocolError as error:
        raise BadAnswer(f"the receiver does not speak HTTP: {_short(error)}") from None
    if not 200 <= status < 300:
        raise Refused(status)
    return status


def _ask(
    target: Target, headers: Mapping[str, str], body: bytes, network: _CheckedNetwork, options: PostOptions
) -> int:
    url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
    ours = {"Host": target.host_header, "Content-Length": str(len(body)), "Connection": "close"}
    sent = [*ours.items(), *headers.items()]
    seconds = dict.fromkeys(("read", "write", "pool"), options.total_seconds)
    timeouts = {**seconds, "connect": options.connect_seconds}
    with httpcore.ConnectionPool(ssl_context=_tls(), network_backend=network, retries=0) as pool:
        extensions: dict[str, Any] = {"timeout": timeouts}
        with pool.stream("POST", url, headers=sent, content=body, extensions=extensions) as answer:
            status = answer.status
            if 200 <= status < 300:
                _drain(answer.iter_stream())
            return status


def _drain(blocks: Iterable[bytes]) -> None:
    """Read a successful answer to its end or its limit: some receivers take a connection that ends early ill."""
    received = 0
    # The status has said all that counts: what goes wrong behind it is no failure.
    with suppress(httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError):
        for block in blocks:
            received += len(block)
            if received > MAX_ANSWER_BYTES:
                return


@cache
def _tls() -> ssl.SSLContext:
    """Return the rules for certificates, read once: that takes 20 ms."""
    return httpcore.default_ssl_context()


def _short(error: Exception) -> str:
    return str(error)[:200] or type(error).__name__


class _CheckedNetwork(httpcore.NetworkBackend):
    """Connect to addresses that were looked at, and let all that follows end by one deadline."""

    def __init__(self, options: PostOptions, resolve: Resolve) -> None:
        self._options, self._resolve = options, resolve
        self._began = time.monotonic()
        self._backend = httpcore.SyncBackend()

    def waited(self) -> float:
        return time.monotonic() - self._began

    def left(self) -> float:
        """Return the seconds that are left; raises httpcore's timeout when there are none."""
        left = self._options.total_seconds - self.waited()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for this message is over")
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        until = time.monotonic() + min(self._options.connect_seconds, self.left())
        failure: Exception = httpcore.ConnectTimeout("no address answered in time")
        for address in addresses:
            try:
                seconds = until - time.monotonic()
                if seconds <= 0:
                    break
                stream = self._backend.connect_tcp(address, port, seconds, local_address, socket_options)
                return _TimedStream(stream, self.left)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        found = _within(min(self._options.connect_seconds, self.left()), lambda: self._resolve(host, port))
        if not found:
            raise UnresolvedHost(f"{host} leads to no address")
        # One closed address among open ones is refused too: such a name is a trap, or a mistake.
        if not self._options.allow_private and not all(map(is_public, found)):
            raise RefusedAddress(
                f"{host} leads into a private network, which this service does not post to without "
                "EARWITNESS_WEBHOOK_ALLOW_PRIVATE=true"
            )
        return found


def _within(seconds: float, ask: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Ask a resolver, which knows no timeout of its own, in a thread that is left behind when it takes too long."""
    said: list[Sequence[str] | OSError | UnicodeError] = []

    def run() -> None:
        try:
            said.append(ask())
        except (OSError, UnicodeError) as error:
            said.append(error)

    thread = threading.Thread(target=run, name="resolve", daemon=True)
    thread.start()
    thread.join(seconds)
    if not said:
        raise TimedOut("the name of the receiver's host was not resolved in time")
    if isinstance(said[0], OSError | UnicodeError):
        raise UnresolvedHost(f"the receiver's host cannot be resolved: {said[0]}")
    return said[0]


class _TimedStream(httpcore.NetworkStream):
    """A stream whose every wait ends by the deadline of the whole message."""

    def __init__(self, stream: httpcore.NetworkStream, left: Callable[[], float]) -> None:
        self._stream, self._left = stream, left

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _TimedStream(self._stream.start_tls(ssl_context, server_hostname, self._left()), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
