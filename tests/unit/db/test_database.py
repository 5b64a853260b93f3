from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from db import database
from db.database import Database, DatabaseUnavailable


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where connections are taken and nobody says a word, as by a server that is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_server_that_takes_a_connection_and_says_nothing_is_given_up(monkeypatch, silent_port):
    monkeypatch.setitem(database.PATIENCE, "connect_timeout", 2)
    hung = Database(f"postgresql+psycopg://boss@127.0.0.1:{silent_port}/db")

    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        hung.check()
    hung.close()

    assert time.monotonic() - began < 6


def test_an_operator_who_says_in_the_url_how_patient_to_be_is_heard(silent_port):
    hung = Database(f"postgresql+psycopg://boss@127.0.0.1:{silent_port}/db?connect_timeout=2")

    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable):
        hung.check()
    hung.close()

    assert time.monotonic() - began < 6
