"""The log names the work in each line, in both forms, and keeps secrets out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator

import pytest

from settings.logs import LogForm, about, configure_logging, without_secrets


@pytest.fixture
def logged(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[LogForm], Callable[[], str]]]:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level

    def start(form: LogForm) -> Callable[[], str]:
        configure_logging("INFO", form)
        return lambda: capsys.readouterr().err

    yield start
    root.handlers[:], root.level = before, level


def test_a_json_line_names_the_work(logged: Callable[[LogForm], Callable[[], str]]) -> None:
    read = logged("json")
    with about(job="j1", recording=None), about(chunk="c1"):
        logging.getLogger("workers").info("heard %d", 3)
    logging.getLogger("workers").info("after")
    first, second = map(json.loads, read().splitlines())
    assert (first["message"], first["job"], first["chunk"], first["level"]) == ("heard 3", "j1", "c1", "INFO")
    assert "recording" not in first
    assert "job" not in second
    assert first["at"].endswith("+00:00")


def test_a_text_line_names_it_too(logged: Callable[[LogForm], Callable[[], str]]) -> None:
    read = logged("text")
    with about(job="j1"):
        logging.getLogger("workers").warning("slow")
    assert read().rstrip().endswith("workers: slow (job=j1)")


def test_what_stands_in_a_text_line_makes_no_other_line(
    logged: Callable[[LogForm], Callable[[], str]],
) -> None:
    read = logged("text")
    with about(job="j1\r\n2026-11-26 00:00:00,000 CRITICAL [1] db.keys: key revoked\x1b[2J\x85\u2028"):
        logging.getLogger("workers").info("heard\n2026-11-26 00:00:00,000 CRITICAL no\x1b[2J\ttab")
    first, second, end = read().split("\n")
    assert first.endswith(" workers: heard")
    assert second == (
        r"    2026-11-26 00:00:00,000 CRITICAL no\x1b[2J"
        "\ttab "
        r"(job=j1\r\n2026-11-26 00:00:00,000 CRITICAL [1] db.keys: key revoked\x1b[2J\x85\u2028)"
    )
    assert end == ""


def test_a_traceback_in_text_keeps_its_lines_and_none_looks_like_an_event(
    logged: Callable[[LogForm], Callable[[], str]],
) -> None:
    read = logged("text")
    try:
        raise ValueError("redis://u:hunter2@h/0\n2026-11-26 00:00:00,000 CRITICAL forged")
    except ValueError:
        logging.getLogger("workers").exception("it broke")
    first, *others = read().rstrip("\n").split("\n")
    assert first.endswith(" workers: it broke")
    assert others[0] == "    Traceback (most recent call last):"
    assert others[-2:] == ["    ValueError: redis://***@h/0", "    2026-11-26 00:00:00,000 CRITICAL forged"]
    assert all(line.startswith("    ") for line in others)


def test_a_traceback_stays_in_one_line_of_json(logged: Callable[[LogForm], Callable[[], str]]) -> None:
    read = logged("json")
    try:
        raise ValueError("redis://u:hunter2@h/0")
    except ValueError:
        logging.getLogger("workers").exception("it broke")
    (line,) = read().splitlines()
    assert "ValueError" in json.loads(line)["error"]
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("postgresql+psycopg://u:pw@h/db?sslmode=x", "postgresql+psycopg://***@h/db?***"),
        ("redis://:pw@h:6379/0", "redis://***@h:6379/0"),
        ("https://b.s3/k.wav?X-Amz-Signature=abc&x=1 gone", "https://b.s3/k.wav?*** gone"),
        ("GET /v1/jobs?after=1 HTTP", "GET /v1/jobs?*** HTTP"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("api_key=ew_123, ok", "api_key=***, ok"),
        ("s3://calls/what?.wav was heard", "s3://calls/what?*** was heard"),
        ("key ew_0123456789ab_AbCdEfGhIjKlMnOpQrStUv failed", "key ew_0123456789ab_*** failed"),
        ("is it there? /tmp/x", "is it there? /tmp/x"),
    ],
)
def test_secrets_are_taken_out(said: str, kept: str) -> None:
    assert without_secrets(said) == kept
