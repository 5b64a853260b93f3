from __future__ import annotations

from db.database import Database


def test_a_server_whose_machine_vanishes_is_given_up_within_a_minute(postgres_database: Database) -> None:
    with postgres_database.engine.connect() as connection:
        said = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]

    assert int(said["tcp_user_timeout"]) <= 60_000
    idle, pause, tries = (int(said[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + pause * tries <= 60
