"""No connection holds the server up: a head that does not end, silence, an answer that nobody takes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from cli import connections
from cli.connections import MAX_HEAD_BYTES, BoundedConnection
from cli.serving import server_config
from settings import Settings

LARGE = 64 * 1024 * 1024


async def _app(scope, receive, send) -> None:
    """Answer with the size of the body, or with a large body of its own."""
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    answer = b"x" * LARGE if scope["path"] == "/large" else str(size).encode()
    length = str(len(answer)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": answer})


@pytest.fixture
def server(monkeypatch) -> Iterator[uvicorn.Server]:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(connections, "SILENT_SECONDS", 0.5)
    monkeypatch.setattr(connections, "LOOK_SECONDS", 0.05)
    config = uvicorn.Config(_app, http=BoundedConnection, ws="none", lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0))
    server.port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join(10)
    listening.close()


@pytest.fixture
def client(server) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
        yield client


def _answer(client: socket.socket) -> bytes:
    """Return the status line and the body of one answer."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += client.recv(65_536) or pytest.fail(f"the connection ended after {got!r}")
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    while len(body) < length:
        body += client.recv(65_536)
    return head.partition(b"\r\n")[0] + b" " + body


def _sent(client: socket.socket, piece: bytes, pause: float = 0.01) -> int:
    """Send a piece again and again, and return how often before the server ended the connection; 50 at most."""
    for times in range(50):
        try:
            client.sendall(piece)
        except OSError:
            return times
        time.sleep(pause)
    return 50


def _is_over(client: socket.socket) -> bool:
    """Say whether the server has ended the connection, without another word."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_the_api_takes_connections_within_limits(tmp_path):
    assert server_config(Settings(data_dir=tmp_path), _app).http is BoundedConnection


@pytest.mark.parametrize(
    "beginning", [b"GET / HTTP/1.1\r\nHost: x\r\nX: ", b"GET /", b"GET / HTTP/1.1\r\nX", b"\r\n"]
)
def test_a_head_that_does_not_end_is_refused(client, beginning):
    client.sendall(beginning)
    unit = b"\r\n" if beginning == b"\r\n" else b"a"
    assert _sent(client, unit * MAX_HEAD_BYTES) < 16


def test_a_head_that_is_too_large_is_told_so(client):
    client.sendall(b"GET / HTTP/1.1\r\nX: ")
    time.sleep(0.1)
    client.sendall(b"a" * (MAX_HEAD_BYTES + 1))
    assert _answer(client).startswith(b"HTTP/1.1 431 ")
    assert _is_over(client)


def test_many_headers_are_refused_as_one_long_header_is(client):
    client.sendall(b"GET / HTTP/1.1\r\n")
    assert _sent(client, b"X: y\r\n" * 10_000) < 16


def test_large_headers_within_the_limit_are_taken(client):
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    time.sleep(0.1)
    client.sendall(b"a" * (MAX_HEAD_BYTES - 100) + b"\r\n\r\n")
    assert _answer(client) == b"HTTP/1.1 200 OK 0"


@pytest.mark.parametrize("beginning", [b"", b"GET / HTTP/1.1\r\nHost"])
def test_who_does_not_say_what_he_wants_is_let_go(client, beginning):
    client.sendall(beginning)
    began = time.monotonic()
    assert _is_over(client)
    assert 0.4 < time.monotonic() - began < 5


def test_a_head_that_trickles_is_let_go(client):
    client.sendall(b"GET / HTTP/1.1\r\nX: ")
    assert _sent(client, b"a", pause=0.1) < 16


def test_an_empty_line_between_requests_does_not_hold_the_connection(client):
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert _answer(client) == b"HTTP/1.1 200 OK 0"
    client.sendall(b"\r\n")
    began = time.monotonic()
    assert _is_over(client)
    assert time.monotonic() - began < 4  # and not uvicorn's 5 s


def test_a_body_that_stops_coming_is_let_go(client):
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    assert _is_over(client)


def test_a_body_that_comes_slowly_is_taken(client):
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    for _ in range(10):
        time.sleep(0.15)
        client.sendall(b"1")
    assert _answer(client) == b"HTTP/1.1 200 OK 10"


def test_large_bodies_and_many_requests_of_one_connection_are_taken(client):
    for _ in range(3):
        body = b"x" * 3_000_000
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + body)
        assert _answer(client) == b"HTTP/1.1 200 OK 3000000"


def test_an_answer_that_nobody_takes_is_given_up(client, server):
    client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    deadline = time.monotonic() + 5
    while server.server_state.connections and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not server.server_state.connections


def test_an_answer_that_is_taken_slowly_is_given_whole(client):
    client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
    got, began = 0, time.monotonic()
    while got < LARGE:
        taken = len(client.recv(4 * 1024 * 1024))
        assert taken, f"it ended after {got} bytes"
        got += taken
        if time.monotonic() - began < 2:
            time.sleep(0.1)
