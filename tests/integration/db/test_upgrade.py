"""Migrations lead from an empty database to what the code expects, on both databases."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError
from support.databases import PostgresServer

from db.database import Database, DatabaseUnavailable
from db.states import PassKind
from db.suspects import reserve_suspect
from db.tables import Table
from db.upgrade import SchemaOutdated, _config, check_schema, current_revision, newest_revision, upgrade
from db.views import view_definitions

JOB, LINK, RECORDING = (f"01989d5e-0000-7000-8000-00000000000{number}" for number in (1, 2, 3))
NOW = "2026-11-25 00:00:00+00"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new' / 'earwitness.db'}"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.sqlalchemy_url(server.empty())


def test_an_empty_database_is_refused_and_then_upgraded(empty_url: str) -> None:
    database = Database(empty_url)
    assert current_revision(database) is None
    with pytest.raises(SchemaOutdated, match="earwitness db upgrade"):
        check_schema(database)
    assert upgrade(database) == newest_revision()
    check_schema(database)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        found = set(inspect(connection).get_view_names())
        assert set(view_definitions(connection.dialect.name)) <= found
    database.close()


def test_a_database_of_the_first_release_keeps_its_rows_and_gets_the_new_views(empty_url: str) -> None:
    database = Database(empty_url)
    at_revision(database, "0001")
    with database.write() as session:
        session.execute(text("CREATE VIEW words AS SELECT id FROM recordings"))
        session.execute(
            text(
                "INSERT INTO recordings (id, tenant, uri, version, channels, state, size_bytes, truncated, warnings, "
                "created_at) VALUES (:id, 'default', 's3://b/a.wav', 'v', 'mix', 'new', 1, false, '[]', :now)"
            ),
            {"id": RECORDING, "now": NOW},
        )
        for statement in (
            "INSERT INTO jobs (id, tenant, state, priority, channels, metadata, recordings_total, recordings_done, "
            "recordings_partial, recordings_failed, created_at) "
            "VALUES (:job, 'default', 'running', 0, 'mix', '{}', 1, 0, 0, 0, :now)",
            "INSERT INTO job_recordings (id, tenant, job_id, position, uri, recording_id, state, created_at) "
            "VALUES (:link, 'default', :job, 0, 's3://b/a.wav', :recording, 'understanding', :now)",
            "INSERT INTO passes (id, tenant, kind, model, job_id, job_recording_id, request_ids, state, priority, "
            "virtual_time, epoch, attempts, errors, crashes, created_at) "
            "VALUES (:link, 'default', 'plan', '', :job, :link, '[]', 'ready', 0, 0, 0, 0, 0, 0, :now)",
            "INSERT INTO events (id, tenant, job_id, kind, actor, data, at) "
            "VALUES (:link, 'default', :job, 'job.accepted', 'api', '{}', :now)",
        ):
            session.execute(text(statement), {"job": JOB, "link": LINK, "recording": RECORDING, "now": NOW})
    upgrade(database)
    with database.write() as session:
        link = session.execute(
            text("SELECT l.metadata, j.if_seen FROM job_recordings l JOIN jobs j ON j.id = l.job_id")
        ).one()
        assert str(link.metadata) == "{}"
        assert link.if_seen == "reuse"
        assert session.execute(text("UPDATE passes SET kind = 'expand'")).rowcount == 1
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(text("UPDATE passes SET kind = 'dream'"))
        with pytest.raises(IntegrityError), session.begin_nested():
            session.execute(text("DELETE FROM jobs"))
    with database.read() as session:
        assert session.execute(text("SELECT uri FROM recordings")).all() == [("s3://b/a.wav",)]
        for view in view_definitions(session.get_bind().dialect.name):
            session.execute(text(f"SELECT * FROM {view}")).all()
        session.execute(text("SELECT no_speech_prob FROM segments")).all()
    assert upgrade(database) == newest_revision()
    database.close()


def test_passes_that_crashed_before_suspects_were_known_are_found(empty_url: str) -> None:
    database = Database(empty_url)
    at_revision(database, "0003")
    with database.write() as session:
        session.execute(
            text(
                "INSERT INTO jobs (id, tenant, state, priority, channels, metadata, recordings_total, recordings_done, "
                "recordings_partial, recordings_failed, created_at) "
                "VALUES (:job, 'default', 'running', 0, 'mix', '{}', 1, 0, 0, 0, :now)"
            ),
            {"job": JOB, "now": NOW},
        )
        for row, crashes in ((LINK, 0), (RECORDING, 2)):
            session.execute(
                text(
                    "INSERT INTO passes (id, tenant, kind, model, job_id, request_ids, state, priority, virtual_time, "
                    "epoch, attempts, errors, crashes, created_at) "
                    "VALUES (:id, 'default', 'plan', '', :job, '[]', 'ready', 0, 0, 2, 2, 0, :crashes, :now)"
                ),
                {"id": row, "job": JOB, "crashes": crashes, "now": NOW},
            )
    upgrade(database)
    assert current_revision(database) == newest_revision()
    with database.write() as session:
        assert session.scalar(text("SELECT count(*) FROM passes")) == 2
        assert session.scalar(text("SELECT identity FROM jobs")) == "version"
        found = reserve_suspect(session, PassKind.PLAN, seconds=30)
        assert found is not None
        assert (str(found.pass_id), found.epoch, found.crashes) == (RECORDING, 2, 2)
        assert reserve_suspect(session, PassKind.PLAN, seconds=30) is None
    database.close()


def at_revision(database: Database, revision: str) -> None:
    config = _config()
    with database.engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        connection.commit()


def test_two_processes_that_upgrade_at_once_both_succeed(postgres: PostgresServer) -> None:
    url = postgres.sqlalchemy_url(postgres.empty())
    reached: list[str] = []

    def run() -> None:
        database = Database(url)
        reached.append(upgrade(database))
        database.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reached == [newest_revision()] * 3


def test_a_database_that_is_not_there_says_which_and_hides_the_password() -> None:
    database = Database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    with pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/none") as caught:
        database.check()
    assert "secret" not in str(caught.value)
    database.close()
