"""What the service keeps in a folder of its own is its user's alone."""

from __future__ import annotations

import os
import stat

import pytest

from db.database import Database
from db.upgrade import upgrade
from settings import Settings
from settings.key_secret import load_key_secret
from workers.context import open_context


@pytest.fixture(autouse=True)
def _generous_umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


def _make_database(settings: Settings) -> None:
    Database(settings.resolved_database_url).close()


def _make_scratch(settings: Settings) -> None:
    url = f"sqlite:///{settings.data_dir.parent}/elsewhere.db"
    database = Database(url)
    upgrade(database)
    database.close()
    open_context(settings.model_copy(update={"database_url": url}), "cpu").close()


@pytest.mark.parametrize("make", [_make_database, load_key_secret, _make_scratch])
def test_a_new_data_folder_is_closed_to_others(tmp_path, make):
    settings = Settings(data_dir=tmp_path / "data")

    make(settings)

    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("make", [_make_database, load_key_secret])
def test_a_folder_that_is_there_keeps_its_mode(tmp_path, make):
    settings = Settings(data_dir=tmp_path / "data")
    settings.data_dir.mkdir(mode=0o750)

    make(settings)

    assert stat.S_IMODE(settings.data_dir.stat().st_mode) == 0o750
