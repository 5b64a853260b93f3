"""Receive webhooks as a client would: a real HTTP server on loopback that notes what comes and answers as told."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Message:
    """One request that came in."""

    path: str
    headers: dict[str, str]  # names in lower case
    body: bytes


@dataclass
class Receiver:
    """Where it listens, and what came; ``answer`` gives the status and headers of each answer."""

    url: str
    messages: list[Message] = field(default_factory=list)
    answer: Callable[[Message], tuple[int, dict[str, str], bytes]] = lambda message: (204, {}, b"")


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            names = {name.lower(): value for name, value in self.headers.items()}
            message = Message(self.path, names, body)
            receiver.messages.append(message)
            status, headers, content = receiver.answer(message)
            with suppress(ConnectionError):
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver = Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Listener:
    """A socket that takes connections, says what it is told and counts."""

    port: int
    connections: int = 0


@contextmanager
def listening(talk: Callable[[socket.socket], None] = lambda connection: None) -> Iterator[Listener]:
    """Listen on loopback; ``talk`` gets each connection, which is closed afterwards."""
    server = socket.create_server(("127.0.0.1", 0))
    listener = Listener(server.getsockname()[1])

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            listener.connections += 1
            with connection, suppress(OSError):
                talk(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener
    finally:
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)  # wakes accept
        server.close()
        thread.join(5.0)
