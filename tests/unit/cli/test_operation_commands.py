"""What operators type, and what they read."""

from __future__ import annotations

import json
from functools import partial

import httpx
import pytest

from cli.client import ApiClient
from cli.commands import operations
from cli.operation_tables import duration

WORKER = {
    "name": "gpu-1:714:gpu", "kind": "gpu", "host": "gpu-1", "pid": 714, "alive": True, "draining": False,
    "trouble": None, "device": "cuda", "model": "mini", "places": 8, "held": 3, "per_minute": {"understand": 42.0},
    "numbers": {}, "started_at": "2026-01-01T00:00:00Z", "seen_at": "2026-01-01T00:00:00Z",
}  # fmt: skip
DEPTH = {
    "kind": "understand", "model": "mini", "ready": 1200, "leased": 8, "expired": 0, "oldest_seconds": 60.0,
    "per_minute": 42.0, "eta_seconds": 1726.0, "workers": 1, "waiting": 0, "next_try_seconds": None,
}  # fmt: skip
FAILURE = {
    "id": "0198f0a1-7c5e-7000-8000-000000000009", "job_id": "0198f0a1-7c5e-7000-8000-000000000001", "position": 0,
    "kind": "recording", "uri": "s3://archive/tape.flac", "state": "failed", "code": "corrupt_container",
    "message": "its index is missing", "retry": "no", "action": "Upload it again.", "finished_at": None,
}  # fmt: skip


@pytest.fixture
def api(api, monkeypatch):
    monkeypatch.setattr(operations, "ApiClient", partial(ApiClient, transport=httpx.MockTransport(api)))
    return api


def test_workers_shows_who_lives_and_who_does_not(api, run):
    api.answers["GET /v1/workers"] = {"items": [WORKER, {**WORKER, "name": "gpu-2:1:gpu", "alive": False}]}
    shown = run("workers").stdout
    assert "gpu-1:714:gpu" in shown
    assert "alive" in shown
    assert "silent" in shown
    assert "3/8" in shown
    assert "understand 42.0" in shown


@pytest.mark.parametrize(
    ("more", "shown"),
    [
        ({}, "29 min"),
        ({"waiting": 3, "next_try_seconds": 240.0}, "29 min; 3 wait for another try, the first in 4 min"),
        ({"eta_seconds": None, "workers": 0}, "nobody works"),
        ({"eta_seconds": None, "workers": 0, "waiting": 1200, "next_try_seconds": 9.0}, "nobody works"),
        ({"eta_seconds": None}, "not known yet"),
        (
            {"eta_seconds": None, "ready": 8, "waiting": 8, "leased": 0, "next_try_seconds": 9.0},
            "8 wait for another try, the first in 9 s",
        ),
    ],
)
def test_queue_shows_how_long_it_takes_or_why_nobody_can_tell(api, run, more, shown):
    api.answers["GET /v1/queue"] = {"items": [{**DEPTH, **more}]}
    (line,) = run("queue").stdout.splitlines()[1:]
    assert line.split("42.0")[1].strip() == shown


def test_failures_of_a_job_say_what_to_do(api, run):
    api.answers[f"GET /v1/jobs/{FAILURE['job_id']}/failures"] = {"items": [FAILURE], "next": None}
    shown = run("failures", FAILURE["job_id"]).stdout
    assert all(
        part in shown for part in ("corrupt_container", "its index is missing", "Upload it again.", "no")
    )


def test_failures_say_whether_a_retry_helps(api, run):
    answers = ["helps", "after_change", "no"]
    found = [{**FAILURE, "retry": answer} for answer in answers]
    api.answers["GET /v1/failures"] = {"items": found, "next": None}
    rows = [line for line in run("failures").stdout.splitlines() if "corrupt_container" in line]
    assert [row.split("corrupt_container")[1].split("s3:")[0].strip() for row in rows] == [
        "helps",
        "after a change",
        "no",
    ]


def test_failures_can_be_read_on_eighty_columns(api, run, monkeypatch):
    from cli import terminal

    twice = {
        **FAILURE,
        "code": "unsupported_or_corrupt",
        "message": f"{FAILURE['uri']}: {FAILURE['message']}",
    }
    api.answers["GET /v1/failures"] = {"items": [twice], "next": None}
    monkeypatch.setattr(terminal.out, "_width", 80)
    shown = run("failures").stdout
    assert all(part in shown for part in (FAILURE["job_id"], "its index is missing", "-> Upload it again."))
    assert shown.count(FAILURE["uri"]) == 1
    assert len(shown.splitlines()) == 5


def test_a_prefix_that_failed_is_named_as_one(api, run):
    prefix = {**FAILURE, "kind": "prefix", "uri": "s3://archive/calls/", "code": "no_objects"}
    api.answers["GET /v1/failures"] = {"items": [prefix, FAILURE], "next": None}
    shown = run("failures").stdout
    assert "prefix s3://archive/calls/" in shown
    assert f"recording {FAILURE['uri']}" not in shown


def test_failures_of_all_jobs_stop_at_the_limit(api, run):
    api.answers["GET /v1/failures"] = {"items": [FAILURE] * 3, "next": FAILURE["id"]}
    assert len(json.loads(run("failures", "--limit", 2, "--json").stdout)) == 2


def test_jobs_are_filtered_by_state(api, run, job):
    api.answers["GET /v1/jobs"] = {"items": [job("partial")], "next": None}
    assert "partial" in run("jobs", "--state", "partial").stdout
    assert api.requests[-1].url.params["state"] == "partial"


def test_the_operators_token_is_shown(api, run, monkeypatch):
    monkeypatch.setenv("EARWITNESS_OPERATOR_TOKEN", "s3cret")
    api.answers["GET /v1/queue"] = {"items": []}
    assert run("queue").exit_code == 0
    assert api.requests[-1].headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (0.2, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2 h 30 min"), (200_000, "2 d 7 h")],
)
def test_durations_are_short(seconds, shown):
    assert duration(seconds) == shown


def test_a_worker_that_rests_says_why(api, run):
    api.answers["GET /v1/workers"] = {
        "items": [{**WORKER, "trouble": "disk_full: [Errno 28] No space left on device: '/scratch'"}]
    }
    shown = run("workers").stdout
    assert "rests" in shown
    assert "disk_full: [Errno 28]" in shown


def test_a_worker_that_loads_its_model_says_so_and_does_not_rest(api, run):
    api.answers["GET /v1/workers"] = {
        "items": [{**WORKER, "trouble": "loading: the model mini is being loaded"}]
    }
    shown = run("workers").stdout
    assert "loads" in shown
    assert "rests" not in shown
    assert "the model mini is being loaded" in shown
