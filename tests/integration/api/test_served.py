"""A job says which of the models that it needs have no worker, and which workers rest."""

from __future__ import annotations

from sqlalchemy import update

from db.clock import database_now
from db.tables import Worker
from db.workers import ALIVE_SECONDS, WorkerReport, remove_worker, report_worker

ASKED = {"sources": ["s3://archive/tape.flac"], "tasks": ["caption", "scene"]}


def serve(database, model, **more):
    with database.write() as session:
        report_worker(session, WorkerReport("gpu-1:1:gpu", "gpu", "gpu-1", 1, model=model, places=8, **more))


def test_a_job_that_nobody_would_hear_waits_and_says_so_until_a_worker_comes(client, database, settings):
    job = client.post("/v1/jobs", json=ASKED).json()
    (warning,) = job["warnings"]
    assert warning.startswith(
        f"no_worker: no worker serves the model {settings.model!r}, which caption, scene"
    )
    assert "earwitness worker" in warning
    assert client.get(f"/v1/jobs/{job['id']}").json()["warnings"] == [warning]

    serve(database, settings.model)
    assert client.get(f"/v1/jobs/{job['id']}").json()["warnings"] == []
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"] == []


def test_a_worker_of_another_model_or_one_that_is_about_to_end_does_not_count(client, database, settings):
    serve(database, "another")
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"] != []
    serve(database, settings.model, draining=True)
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"] != []


def test_a_job_may_refuse_to_wait_and_then_nothing_is_stored(client, database, settings):
    answer = client.post("/v1/jobs", json={**ASKED, "if_no_worker": "refuse"})
    assert answer.status_code == 503
    assert answer.json()["code"] == "no_worker"
    assert "retry-after" in answer.headers
    assert client.get("/v1/jobs").json()["items"] == []

    serve(database, settings.model)
    assert client.post("/v1/jobs", json={**ASKED, "if_no_worker": "refuse"}).status_code == 202


def test_a_job_says_that_every_worker_of_a_kind_rests_and_is_not_refused_for_that(client, database, settings):
    serve(database, settings.model)
    for name, trouble in (("one", "disk_full: no room in /secret"), ("two", "disk_full: no room in /secret")):
        with database.write() as session:
            report_worker(session, WorkerReport(name, "cpu", "cpu-1", 1, places=2, trouble=trouble))
    job = client.post("/v1/jobs", json={**ASKED, "if_no_worker": "refuse"}).json()
    (warning,) = client.get(f"/v1/jobs/{job['id']}").json()["warnings"]
    assert warning.startswith("worker_rests: every cpu worker rests (disk_full)")
    assert "/secret" not in warning
    assert client.post("/v1/jobs", json=ASKED, params={"dry_run": True}).json()["warnings"] == [warning]
    with database.write() as session:
        report_worker(session, WorkerReport("two", "cpu", "cpu-1", 1, places=2))
    client.app.state.services.served._asked_at = float("-inf")
    assert client.get(f"/v1/jobs/{job['id']}").json()["warnings"] == []


LOADING = "loading: the model is being loaded"


def test_a_worker_that_loads_the_model_is_waited_for_and_named_as_that(client, database, settings):
    serve(database, settings.model, trouble=LOADING)
    answer = client.post("/v1/jobs", json={**ASKED, "if_no_worker": "refuse"})
    assert answer.status_code == 202
    (warning,) = answer.json()["warnings"]
    assert warning.startswith(
        f"worker_loads: the model {settings.model!r}, which caption, scene waits for, is being loaded"
    )
    shown = f"/v1/jobs/{answer.json()['id']}"
    assert client.get(shown).json()["warnings"] == [warning]
    body = {**ASKED, "if_no_worker": "refuse"}
    assert client.post("/v1/jobs", json=body, params={"dry_run": True}).json()["warnings"] == [warning]

    serve(database, settings.model)
    client.app.state.services.served._asked_at = float("-inf")
    assert client.get(shown).json()["warnings"] == []


def test_a_worker_that_loads_is_seen_at_once_and_counts_for_its_own_model_only(client, database, settings):
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"][0].startswith("no_worker: ")
    serve(database, "another", trouble=LOADING)
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"][0].startswith("no_worker: ")
    serve(database, settings.model, trouble=LOADING)
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"][0].startswith("worker_loads: ")


def test_nobody_is_told_of_a_worker_that_loads_beside_one_that_hears(client, database, settings):
    serve(database, settings.model)
    with database.write() as session:
        new = WorkerReport("gpu-2:1:gpu", "gpu", "gpu-2", 1, model=settings.model, trouble=LOADING)
        report_worker(session, new)
    assert client.post("/v1/jobs", json=ASKED).json()["warnings"] == []


def test_a_worker_that_died_while_it_loaded_falls_silent(client, database, settings):
    serve(database, settings.model, trouble=LOADING)
    with database.write() as session:
        session.execute(update(Worker).values(seen_at=database_now(-ALIVE_SECONDS - 1)))
    answer = client.post("/v1/jobs", json={**ASKED, "if_no_worker": "refuse"})
    assert (answer.status_code, answer.json()["code"]) == (503, "no_worker")


def test_a_job_that_is_over_warns_of_nothing(client, database, settings):
    serve(database, settings.model)
    job = client.post("/v1/jobs", json=ASKED).json()
    with database.write() as session:
        remove_worker(session, "gpu-1:1:gpu")
    assert client.post(f"/v1/jobs/{job['id']}/cancel").status_code == 200
    assert client.get(f"/v1/jobs/{job['id']}").json()["warnings"] == []
