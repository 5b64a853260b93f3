"""Operators see the service as a whole, and nobody else does; clients see what failed and what to do."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import update
from support.jobs import claim

from api.app import create_app
from api.metrics import DECLARED, PREFIX
from db.claims import Failure
from db.clock import database_now
from db.database import Database
from db.failures import fail_pass
from db.states import PassKind
from db.tables import JobSource, Pass
from db.workers import WorkerReport, report_worker
from settings.logs import configure_logging

NUMBERS = {"done_plan": 7, "failed_plan": 1, "rate_plan": 12.0, "crashes_found": 2, "engine_steps": 99}
ONLY_OPERATORS = ("/metrics", "/v1/workers", "/v1/queue")


@pytest.fixture
def local(settings) -> Iterator[TestClient]:
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False, client=("127.0.0.1", 40_000)) as client:
        yield client


def report(database: Database, **more) -> None:
    with database.write() as session:
        report_worker(
            session, WorkerReport("h:1:cpu", "cpu", "h", 1, places=4, held=1, numbers=NUMBERS, **more)
        )


def test_workers_are_shown_with_what_they_hold_and_how_fast_they_are(local, database):
    report(database)
    (worker,) = local.get("/v1/workers").json()["items"]
    assert (worker["alive"], worker["held"], worker["places"]) == (True, 1, 4)
    assert worker["per_minute"] == {"plan": 12.0}
    assert worker["numbers"] == NUMBERS


def test_the_queue_says_how_long_it_will_take(local, database):
    local.post("/v1/jobs", json={"sources": ["s3://calls/a.wav"] * 3, "tasks": ["caption"]})
    (depth,) = local.get("/v1/queue").json()["items"]
    assert (depth["kind"], depth["ready"], depth["leased"], depth["eta_seconds"]) == ("plan", 3, 0, None)
    report(database)
    (depth,) = local.get("/v1/queue").json()["items"]
    assert (depth["per_minute"], depth["eta_seconds"]) == (12.0, 15.0)


def test_the_queue_tells_work_that_waits_for_another_try_from_work_that_nobody_does(local, database):
    local.post("/v1/jobs", json={"sources": ["s3://calls/a.wav"] * 2, "tasks": ["caption"]})

    def depth() -> dict:
        (found,) = local.get("/v1/queue").json()["items"]
        return found

    with database.write() as session:
        session.execute(update(Pass).values(not_before=database_now(120)))
    assert (depth()["workers"], depth()["waiting"]) == (0, 2)
    report(database)
    assert (depth()["workers"], depth()["waiting"], depth()["eta_seconds"]) == (1, 2, None)
    assert 100 < depth()["next_try_seconds"] <= 120
    local.post("/v1/jobs", json={"sources": ["s3://calls/a.wav"], "tasks": ["caption"]})
    assert (depth()["ready"], depth()["eta_seconds"]) == (3, 5.0)  # of the one that does not wait


def test_only_workers_of_the_kind_that_is_needed_count_and_not_those_that_end(local, database):
    local.post("/v1/jobs", json={"sources": ["s3://calls/a.wav"], "tasks": ["caption"]})
    with database.write() as session:
        report_worker(session, WorkerReport("h:2:gpu", "gpu", "h", 2, model="mini", numbers={}))
        report_worker(session, WorkerReport("h:3:cpu", "cpu", "h", 3, draining=True, numbers=NUMBERS))
    (depth,) = local.get("/v1/queue").json()["items"]
    assert (depth["workers"], depth["per_minute"], depth["eta_seconds"]) == (0, 0.0, None)


def samples(text: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_are_declared_and_tell_what_is_there(local, database):
    local.post("/v1/jobs", json={"sources": ["s3://calls/a.wav", "s3://calls/b.wav"], "tasks": ["caption"]})
    local.get("/no/such/path")
    report(database)
    found = claim(database, PassKind.PLAN)
    with database.write() as session:
        fail_pass(session, found, Failure("empty_file", "it is empty", retryable=False))
    answer = local.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    values = samples(answer.text)
    for key, value in {
        ("up",): 1,
        ("queue_passes", "plan", "", "ready"): 1,
        ("queue_passes", "understand", "", "ready"): 0,
        ("jobs", "running"): 1,
        ("jobs", "failed"): 0,
        ("failures", "plan", "empty_file"): 1,
        ("webhooks", "failing"): 0,
        ("workers", "cpu", "yes"): 1,
        ("workers", "gpu", "yes"): 0,
        ("worker_held", "h:1:cpu", "cpu"): 1,
        ("passes_total", "h:1:cpu", "plan", "done"): 7,
        ("passes_total", "h:1:cpu", "plan", "failed"): 1,
        ("crashes_total", "h:1:cpu"): 2,
        ("engine", "h:1:cpu", "", "steps"): 99,
        ("requests_total", "POST", "/v1/jobs", "202"): 1,
        ("requests_total", "GET", "none", "404"): 1,
        ("request_seconds_count", "POST", "/v1/jobs"): 1,
    }.items():
        assert values[(PREFIX + key[0], *sorted(key[1:]))] == value, key
    known = {PREFIX + name for name in DECLARED}
    for family in text_string_to_metric_families(answer.text):
        assert known & {family.name, f"{family.name}_total"} or family.name.endswith("_created"), family.name


def test_metrics_count_a_worker_that_loads_as_alive_and_not_as_resting(local, database):
    report(database, trouble="loading: the model mini is being loaded")
    values = samples(local.get("/metrics").text)
    assert values[PREFIX + "worker_rests", "cpu", "h:1:cpu"] == 0
    assert values[PREFIX + "workers", "cpu", "yes"] == 1
    report(database, trouble="disk_full: no room")
    assert samples(local.get("/metrics").text)[PREFIX + "worker_rests", "cpu", "h:1:cpu"] == 1


def test_metrics_answer_without_the_database(settings, tmp_path):
    broken = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path}/none/of.db"})
    with TestClient(create_app(broken), client=("127.0.0.1", 1)) as client:
        values = samples(client.get("/metrics").text)
        assert values[(PREFIX + "up",)] == 0


@pytest.mark.parametrize("path", ONLY_OPERATORS)
def test_without_a_token_only_this_machine_may_look(settings, local, path):
    assert local.get(path).status_code == 200
    assert local.get(path, headers={"X-Forwarded-For": "127.0.0.1"}).json()["code"] == "not_an_operator"
    with TestClient(create_app(settings), client=("192.0.2.7", 40_000)) as stranger:
        assert stranger.get(path).status_code == 403


@pytest.mark.parametrize("path", ONLY_OPERATORS)
def test_with_a_token_whoever_shows_it_may_look_and_nobody_else(settings, path):
    closed = settings.model_copy(update={"operator_token": SecretStr("s3cret")})
    with TestClient(create_app(closed), client=("127.0.0.1", 40_000)) as client:
        assert client.get(path).status_code == 403
        assert client.get(path, headers={"Authorization": "Bearer other"}).status_code == 403
        assert client.get(path, headers={"Authorization": "Bearer s3cret"}).status_code == 200


def test_failures_say_what_to_do(local, database):
    job = local.post(
        "/v1/jobs", json={"sources": [f"s3://calls/{name}.wav" for name in "abc"], "tasks": ["caption"]}
    ).json()
    for code in ("corrupt_container", "decode_timeout", "input_access_denied"):
        found = claim(database, PassKind.PLAN)
        with database.write() as session:
            fail_pass(session, found, Failure(code, f"it is {code}", retryable=False))
    page = local.get(f"/v1/jobs/{job['id']}/failures").json()
    assert {item["code"]: (item["retry"], item["retry_helps"]) for item in page["items"]} == {
        "corrupt_container": ("no", False),
        "decode_timeout": ("helps", True),
        "input_access_denied": ("after_change", False),
    }
    assert all(item["action"] and item["message"].startswith("it is") for item in page["items"])
    assert local.get("/v1/failures").json()["items"] == page["items"]
    first = local.get("/v1/failures", params={"limit": 2}).json()
    second = local.get("/v1/failures", params={"limit": 1, "after": first["next"]}).json()
    assert [*first["items"], *second["items"]] == page["items"]
    assert second["next"] is None
    assert local.get("/v1/jobs/0198f0a1-7c5e-7000-8000-000000000001/failures").status_code == 404


def test_a_prefix_that_failed_is_a_failure_too(local, database):
    job = local.post(
        "/v1/jobs", json={"sources": [{"prefix": "s3://calls/none/"}], "tasks": ["caption"]}
    ).json()
    with database.write() as session:
        session.execute(
            update(JobSource).values(
                state="failed", error_code="no_objects", error_message="nothing lies there"
            )
        )
    (item,) = local.get("/v1/failures").json()["items"]
    assert local.get(f"/v1/jobs/{job['id']}/failures").json()["items"] == [item]
    assert (item["kind"], item["uri"], item["state"]) == ("prefix", "s3://calls/none/", "failed")
    assert (item["code"], item["message"]) == ("no_objects", "nothing lies there")
    assert "--dry-run" in item["action"]


def log_as_text(capsys, monkeypatch):
    """Log as text from now on; return what gives it out."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    configure_logging("DEBUG")
    monkeypatch.setattr(logging.getLogger("httpx2"), "level", logging.WARNING)  # of the test's client
    return lambda: capsys.readouterr().err


@pytest.mark.parametrize("forged", ["x%0A{line}", "%0A" + 31 * "1", "x%1B[2J"])
def test_a_path_writes_no_line_of_its_own_into_the_log(settings, capsys, monkeypatch, forged):
    line = "2026-11-26%2000:00:00,000%20CRITICAL%20[1]%20db.keys:%20key%20revoked"
    with TestClient(create_app(settings, keys_required=True)) as client:
        read = log_as_text(capsys, monkeypatch)
        assert client.post(f"/v1/jobs/{forged.format(line=line)}/cancel").status_code == 401

    written = read().rstrip("\n").split("\n")
    assert len(written) == 1
    assert "api.request_log: POST /v1/jobs/{job_id}/cancel: 401" in written[0]
    assert "job=" not in written[0] or written[0].endswith(f"job={uuid.UUID(int=int(31 * '1', 16))})")


def test_the_log_of_a_request_names_its_job(client, capsys, monkeypatch):
    read_log = log_as_text(capsys, monkeypatch)
    job_id = client.post("/v1/jobs", json={"sources": ["s3://archive/1"], "tasks": ["caption"]}).json()["id"]
    client.get(f"/v1/jobs/{job_id}")
    client.get("/v1/jobs")

    made, read, listed = (line for line in read_log().splitlines() if "request_log" in line)
    assert f"job={job_id}" in made
    assert f"job={job_id}" in read
    assert "job=" not in listed
