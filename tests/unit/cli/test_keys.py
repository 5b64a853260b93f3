"""An API that others can reach has keys, or does not start; keys are made and revoked on the command line."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from cli.client import ApiClient
from cli.errors import NoKeys
from cli.main import app
from cli.service import check_keys, prepare_database
from settings import Settings


@pytest.fixture
def settings(tmp_path, monkeypatch) -> Settings:
    monkeypatch.setenv("EARWITNESS_DATA_DIR", str(tmp_path))
    settings = Settings()
    prepare_database(settings)
    return settings


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def test_on_loopback_no_key_is_needed(settings):
    assert check_keys(settings, "127.0.0.1") is False


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7"])
def test_on_a_network_there_is_no_start_without_a_key(settings, host):
    with pytest.raises(NoKeys, match="earwitness keys create"):
        check_keys(settings, host)


def test_behind_a_proxy_keys_can_be_asked_for_on_loopback(settings):
    strict = settings.model_copy(update={"require_keys": True})
    with pytest.raises(NoKeys, match="REQUIRE_KEYS"):
        check_keys(strict, "127.0.0.1")


def test_a_key_lets_the_api_start_and_the_last_one_that_is_revoked_does_not(settings):
    made = run("keys", "create", "--tenant", "radio", "--name", "ci")
    key = made.stdout.strip()
    assert key.startswith("ew_")
    assert check_keys(settings, "0.0.0.0") is True
    listed = run("keys", "list").stdout
    assert key.split("_")[1] in listed
    assert key not in listed
    assert run("keys", "revoke", key.split("_")[1]).exit_code == 0
    with pytest.raises(NoKeys):
        check_keys(settings, "0.0.0.0")
    assert run("keys", "revoke", key.split("_")[1]).exit_code == 1


def test_a_tenants_share_and_limit_are_set_and_shown(settings):
    run("keys", "create", "--tenant", "radio")
    assert run("tenants", "set", "radio", "--weight", "2.5", "--max-queued", "100").exit_code == 0
    assert "2.5" in run("tenants", "list").stdout
    assert run("tenants", "set", "nobody", "--weight", "1").exit_code == 1
    assert run("tenants", "set", "radio", "--weight", "0").exit_code == 2
    assert run("tenants", "set", "radio", "--max-queued", str(2**31)).exit_code == 2
    assert run("keys", "create", "--tenant", "../x").exit_code == 1


def test_a_database_that_does_not_answer_is_no_reason_to_open_up(tmp_path):
    gone = Settings(data_dir=tmp_path, database_url="postgresql://x@127.0.0.1:1/none")
    assert check_keys(gone, "0.0.0.0") is True


def test_the_client_sends_its_key(monkeypatch):
    client = ApiClient("http://localhost", token="ew_1_2")
    assert client._http.headers["authorization"] == "Bearer ew_1_2"
