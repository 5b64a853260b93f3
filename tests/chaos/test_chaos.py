"""A service under harm loses nothing, doubles nothing and gets stuck nowhere: the short tier of ``make chaos``."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos.run import Report, harm, quick_folder
from support.databases import PostgresServer
from support.servers import RedisServer

SEED = 20_261_125
SECONDS = 5.0
BACKLOG = 20  # passes that are open at a time: few, so that it is soon at rest


def assert_promises_held(report: Report, *kinds: str) -> None:
    assert not report.violations, report.show()
    assert report.faults["worker kill"] + report.faults["worker stop"] >= 2, report.show()
    for kind in kinds:
        assert any(name.startswith(kind) for name in report.faults), report.show()
    for fact in ("results", "messages", "retries", "deleted", "passes failed for good"):
        assert report.facts[fact] > 0, report.show()
    assert "completed" in report.facts["uploads in parts"], report.show()
    assert report.facts["workers that did not end well"] == 0, report.show()


@pytest.mark.timeout(300)
def test_sqlite_under_harm(tmp_path: Path) -> None:
    assert_promises_held(harm(tmp_path, SEED, SECONDS, backlog=BACKLOG))


@pytest.mark.timeout(300)
def test_postgresql_and_redis_under_harm(tmp_path: Path) -> None:
    # Servers of its own: those of the session are not to be harmed.
    postgres, redis = PostgresServer(quick_folder()), RedisServer()
    try:
        report = harm(
            tmp_path,
            SEED,
            SECONDS + 1,
            postgres=postgres,
            redis=redis,
            server_pause_seconds=1.5,
            backlog=BACKLOG,
        )
    finally:
        redis.close()
        postgres.close()
    assert_promises_held(report, *(("postgres", "redis") if postgres.is_ours else ()))
