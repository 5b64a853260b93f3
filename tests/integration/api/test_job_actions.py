"""Cancel, retry, ask more and delete over REST."""

from __future__ import annotations

from datetime import datetime

import pytest
from fastapi.testclient import TestClient
from support.jobs import claim, facts, plan
from support.lives import PLAN, RETIRE, UNDERSTAND, fail, must, retire, run_all

from api.app import create_app
from db.states import PassKind
from workers.doorbell import SilentDoorbell

ABSENT = "01a00000-0000-7000-8000-000000000000"


@pytest.fixture(autouse=True)
def _same_model(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    # The acted workers serve the model of ``support.jobs``.
    monkeypatch.setattr("support.jobs.MODEL", settings.model)


def submit(client, *uris: str, tasks: list | None = None, **more) -> str:
    answer = client.post("/v1/jobs", json={"sources": list(uris), "tasks": tasks or ["caption"], **more})
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def test_a_cancel_counts_everything_and_may_be_repeated(client, database, doorbell):
    job_id = submit(client, "s3://box/1", "s3://box/2")
    plan(database, must(claim(database, PLAN)), facts(2))

    for _ in range(2):
        answer = client.post(f"/v1/jobs/{job_id}/cancel")
        assert answer.status_code == 200
        job = answer.json()
        assert job["state"] == "cancelled"
        assert job["recordings"] == {
            "total": 2, "succeeded": 0, "partial": 0, "failed": 0, "skipped": 0, "cancelled": 2, "pending": 0,
        }  # fmt: skip
    assert (PassKind.RETIRE, "", 1) in doorbell.rings
    items = client.get(f"/v1/jobs/{job_id}/recordings").json()["items"]
    assert [item["state"] for item in items] == ["cancelled", "cancelled"]


def test_what_is_not_in_the_state_for_it_answers_409_with_a_code(client, database):
    job_id = submit(client, "s3://box/1")
    early = client.post(f"/v1/jobs/{job_id}/retry")
    run_all(database)
    late = client.post(f"/v1/jobs/{job_id}/cancel")
    nothing = client.post(f"/v1/jobs/{job_id}/retry")

    found = [(answer.status_code, answer.json()["code"]) for answer in (early, late, nothing)]
    assert found == [(409, "job_not_over"), (409, "job_over"), (409, "nothing_to_retry")]
    assert job_id in late.json()["detail"]
    assert "cancelled" not in nothing.json()["detail"]


def test_a_retry_is_one_request_and_a_job_of_its_own(client, database, doorbell):
    job_id = submit(client, "s3://box/bad", "s3://box/good")
    fail(database, must(claim(database, PLAN)))
    run_all(database)

    answer = client.post(f"/v1/jobs/{job_id}/retry")

    assert answer.status_code == 202
    new = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
    assert (new["retry_of"], new["recordings"]["total"], new["state"]) == (job_id, 1, "queued")
    assert (PassKind.PLAN, "", 1) in doorbell.rings
    run_all(database)
    assert client.get(f"/v1/jobs/{new['id']}").json()["state"] == "succeeded"
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "partial"


def test_a_retry_of_a_listing_shows_its_source_and_rings_for_it(client, database, doorbell):
    answer = client.post(
        "/v1/jobs",
        json={"sources": [{"prefix": "s3://box/calls/"}], "tasks": ["caption"], "identity": "content"},
    )
    fail(database, must(claim(database, PassKind.EXPAND)))
    doorbell.rings.clear()

    new = client.post(f"/v1/jobs/{answer.json()['id']}/retry").json()

    assert [(source["uri"], source["state"]) for source in new["sources"]] == [
        ("s3://box/calls/", "expanding")
    ]
    assert [warning.partition(":")[0] for warning in new["warnings"]] == ["no_worker"]
    assert new["identity"] == "content"
    assert doorbell.rings == [(PassKind.EXPAND, "", 1)]


def test_a_retry_may_take_up_what_a_cancel_cut_off(client, database):
    job_id = submit(client, "s3://box/1")
    client.post(f"/v1/jobs/{job_id}/cancel")

    refused = client.post(f"/v1/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "nothing_to_retry")
    assert all(words in refused.json()["detail"] for words in ("--cancelled", '{"cancelled": true}'))
    assert client.post(f"/v1/jobs/{job_id}/retry", json={"cancelled": True}).status_code == 202
    unknown = client.post(f"/v1/jobs/{job_id}/retry", json={"all": True})
    assert unknown.status_code == 422


def test_asking_more_makes_a_job_of_the_same_recordings(client, database):
    job_id = submit(client, "s3://box/1", "s3://box/2")
    run_all(database)

    answer = client.post(f"/v1/jobs/{job_id}/tasks", json={"tasks": ["emotion", "caption"]})

    assert answer.status_code == 202
    new = answer.json()
    assert [one["task"] for one in new["requests"]] == ["emotion", "caption"]
    assert run_all(database) == 4  # the emotions of four chunks; the captions are there
    assert client.get(f"/v1/jobs/{new['id']}").json()["recordings"]["succeeded"] == 2


def test_jobs_made_of_others_expire_like_them_or_as_the_service_says(settings, database):
    ttl = settings.model_copy(update={"job_ttl_hours": 24.0})
    with TestClient(create_app(ttl, doorbell=SilentDoorbell()), raise_server_exceptions=False) as client:
        for more, hours in (({"ttl_hours": 2.0}, 2), ({}, 24)):
            job_id = submit(client, "s3://box/bad", "s3://box/good", **more)
            fail(database, must(claim(database, PLAN)))
            run_all(database)
            again = client.post(f"/v1/jobs/{job_id}/retry").json()
            further = client.post(f"/v1/jobs/{job_id}/tasks", json={"tasks": ["scene"]}).json()
            for new in (again, further):
                assert new["expires_at"] is not None
                lived = datetime.fromisoformat(new["expires_at"]) - datetime.fromisoformat(new["created_at"])
                assert abs(lived.total_seconds() - hours * 3_600) < 5
            run_all(database)


def test_more_tasks_are_checked_like_those_of_a_job(client, submitted):
    twice = client.post(f"/v1/jobs/{submitted}/tasks", json={"tasks": ["caption", "caption"]})
    unknown = client.post(f"/v1/jobs/{submitted}/tasks", json={"tasks": ["fly"]})
    none = client.post(f"/v1/jobs/{submitted}/tasks", json={"tasks": []})

    assert [answer.status_code for answer in (twice, unknown, none)] == [422] * 3
    assert twice.json()["errors"][0]["field"] == "tasks[1]"


def test_what_nobody_should_ask_is_refused_wherever_it_is_asked(client, submitted):
    tasks = [{"task": "translate", "options": {"language": "en"}}]
    job = {"sources": ["s3://box/1"], "tasks": tasks}
    answers = [
        client.post("/v1/jobs", json=job),
        client.post("/v1/jobs", json={**job, "dry_run": True}),
        client.post(f"/v1/jobs/{submitted}/tasks", json={"tasks": tasks}),
    ]
    for answer in answers:
        assert answer.status_code == 422
        (error,) = answer.json()["errors"]
        assert error == {
            "field": "tasks[0].options.language",
            "message": "there is nothing to translate from en into en: choose another language or target",
        }


def test_a_deleted_job_is_not_found_from_that_answer_on(client, database):
    job_id = submit(client, "s3://box/1")
    plan(database, must(claim(database, PLAN)), facts(2))
    must(claim(database, UNDERSTAND))

    assert client.delete(f"/v1/jobs/{job_id}").status_code == 202
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert client.get("/v1/jobs").json()["items"] == []
    retire(database, must(claim(database, RETIRE)))
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "cancel", None),
        ("POST", "retry", None),
        ("POST", "tasks", {"tasks": ["caption"]}),
        ("DELETE", "", None),
    ],
)
def test_an_unknown_job_answers_404(client, method, path, body):
    url = f"/v1/jobs/{ABSENT}/{path}".rstrip("/")
    answer = client.request(method, url, json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_job_may_say_how_long_it_stays(client):
    job = client.get(f"/v1/jobs/{submit(client, 's3://box/1', ttl_hours=48)}").json()
    stays = datetime.fromisoformat(job["expires_at"]) - datetime.fromisoformat(job["created_at"])
    assert stays.total_seconds() == pytest.approx(48 * 3600, abs=5)
    assert client.get(f"/v1/jobs/{submit(client, 's3://box/1')}").json()["expires_at"] is None
    refused = client.post("/v1/jobs", json={"sources": ["s3://box/1"], "tasks": ["caption"], "ttl_hours": 0})
    assert refused.status_code == 422


def test_the_service_may_set_how_long_jobs_stay(settings):
    from fastapi.testclient import TestClient

    from api.app import create_app

    with TestClient(create_app(settings.model_copy(update={"job_ttl_hours": 1.0}))) as client:
        job = client.get(f"/v1/jobs/{submit(client, 's3://box/1')}").json()
    assert job["expires_at"] is not None
