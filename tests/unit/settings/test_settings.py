"""Settings: right for a newcomer, and a wrong value names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from settings import PREFIX, InvalidSettings, Settings, load_settings, unknown_variables


def test_the_defaults_need_no_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings()
    assert settings.embedded
    assert settings.resolved_database_url == f"sqlite:///{tmp_path}/earwitness-data/earwitness.db"
    assert settings.resolved_storage_url == (tmp_path / "earwitness-data" / "objects").as_uri()
    assert settings.api_host == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("API_PORT", "eighty"),
        ("API_PORT", "70000"),
        ("DATABASE_URL", "mysql://h/db"),
        ("BROKER_URL", "amqp://h"),
        ("LEASE_SECONDS", "0"),
        ("LOG_LEVEL", "LOUD"),
        ("PLACES", "-1"),
        ("DEVICE", "gpu"),
        ("DEVICE", "mps"),
        ("DEVICE", "cuda:"),
        ("DEVICE", "cuda:01"),
        ("DEVICE", "cuda:all"),
        ("STORAGE_URL", "gs://bucket/prefix"),
        ("STORAGE_URL", "s3:/bucket/prefix"),
        ("STORAGE_URL", "s3://me:secret@bucket/prefix"),
        ("STORAGE_URL", "/data/s3://bucket"),
        ("STORAGE_URL", "S3://"),
        ("STORAGE_URL", "s3:///prefix"),
        ("STORAGE_URL", "file://objects"),
        ("STORAGE_URL", "file:///a/../b"),
        ("STORAGE_URL", "file:///"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(PREFIX + name, value)
    with pytest.raises(InvalidSettings, match=PREFIX + name):
        load_settings()


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("S3://Bucket/Prefix/", "s3://Bucket/Prefix"),
        ("s3://bucket", "s3://bucket"),
        ("FILE:///data/a%20b", "file:///data/a%20b"),
        ("file://localhost/data", "file:///data"),
        ("data/at:8", (Path.cwd() / "data" / "at:8").as_uri()),
        ("/data/a b", "file:///data/a%20b"),
        ("/data/at:8", "file:///data/at%3A8"),
    ],
)
def test_a_storage_is_read_as_people_write_it(monkeypatch: pytest.MonkeyPatch, value: str, url: str) -> None:
    monkeypatch.setenv("EARWITNESS_STORAGE_URL", value)
    assert load_settings().resolved_storage_url == url


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:0", "cuda:15"])
def test_a_device_is_named_as_torch_names_it(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    monkeypatch.setenv("EARWITNESS_DEVICE", device)
    assert load_settings().device == device


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_urls_are_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setenv("EARWITNESS_DATABASE_URL", f"{scheme}://u:p@h:5432/d")
    assert load_settings().resolved_database_url == "postgresql+psycopg://u:p@h:5432/d"


def test_file_roots_are_split_like_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARWITNESS_FILE_ROOTS", "/a:/b c")
    assert load_settings().file_roots == (Path("/a"), Path("/b c"))


def test_a_misspelled_variable_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EARWITNESS_MODLE", "x")
    assert unknown_variables() == ["EARWITNESS_MODLE"]


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
