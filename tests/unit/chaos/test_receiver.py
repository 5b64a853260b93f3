"""The receiver of a chaos run logs what has come whole, and nothing else."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import httpx
from chaos.receiver import Receiver
from support.servers import ROOT, free_port, wait_until


def test_a_sender_that_dies_in_mid_sentence_has_sent_nothing(tmp_path: Path) -> None:
    port = free_port()
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    receiver = Receiver(port, 1, tmp_path / "received.jsonl", {**os.environ, "PYTHONPATH": paths})
    receiver.start()
    try:
        for sent in (b"", b'{"type"'):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sender:
                sender.sendall(b"POST /hook HTTP/1.1\r\nHost: here\r\nContent-Length: 20\r\n\r\n" + sent)
        assert httpx.post(f"http://127.0.0.1:{port}/hook", content=b"whole").status_code == 204
        wait_until(lambda: receiver.received(), 5, "the whole message is in the log")
        assert [one.body for one in receiver.received()] == ["whole"]
    finally:
        receiver.kill()
