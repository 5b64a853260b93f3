from __future__ import annotations

import json

JOB_ID = "0198f0a1-7c5e-7000-8000-000000000001"
PATH = f"/v1/jobs/{JOB_ID}"
CONFLICT = (
    409,
    {
        "status": 409,
        "code": "job_over",
        "title": "No",
        "detail": "job has ended already: it failed",
        "errors": [],
    },
)


def test_cancel_shows_the_job(run, api, job):
    api.answers[f"POST {PATH}/cancel"] = job("cancelled", succeeded=0, cancelled=1)

    done = run("cancel", JOB_ID)

    assert done.exit_code == 0
    assert "cancelled" in done.stdout


def test_what_the_api_refuses_is_told_without_a_traceback(run, api):
    api.answers[f"POST {PATH}/cancel"] = CONFLICT

    done = run("cancel", JOB_ID)

    assert done.exit_code == 1
    assert "has ended already" in done.stderr
    assert "Traceback" not in done.output


def test_retry_prints_the_new_job(run, api, job):
    api.answers[f"POST {PATH}/retry"] = (202, job("queued"))

    assert run("retry", JOB_ID).stdout.strip() == JOB_ID
    assert api.sent() == {"cancelled": False}
    assert run("retry", JOB_ID, "--cancelled").exit_code == 0
    assert api.sent() == {"cancelled": True}


def test_retry_waits_and_ends_as_the_new_job_does(run, api, job):
    api.answers[f"POST {PATH}/retry"] = (202, job("queued"))
    api.answers[f"GET {PATH}"] = [job("running"), job("partial")]

    assert run("retry", JOB_ID, "--wait").exit_code == 1


def test_warnings_are_said_once_at_once_and_while_somebody_waits(run, api, job):
    nobody, resting = "no_worker: nobody serves it", "worker_rests: every cpu worker rests (disk_full)"
    queued = {**job("queued"), "warnings": [nobody]}
    api.answers[f"POST {PATH}/retry"] = (202, queued)
    assert run("retry", JOB_ID).stderr.count("nobody serves it") == 1
    api.answers[f"GET {PATH}"] = [queued, {**queued, "warnings": [nobody, resting]}, job("succeeded")]
    said = run("retry", JOB_ID, "--wait").stderr
    assert said.count("nobody serves it") == 1
    assert said.count("every cpu worker rests (disk_full)") == 1


def test_extend_asks_more_tasks(run, api, job):
    api.answers[f"POST {PATH}/tasks"] = (202, job("queued"))

    done = run("extend", JOB_ID, "--task", "caption", "--task", "transcribe:itn=true", "--json")

    assert json.loads(done.stdout) == job("queued")
    assert api.sent()["tasks"] == [
        {"task": "caption", "options": {}},
        {"task": "transcribe", "options": {"itn": True}},
    ]
    assert run("extend", JOB_ID).exit_code == 2  # without a task there is nothing to ask


def test_delete_says_that_it_goes(run, api):
    api.answers[f"DELETE {PATH}"] = (202, None)

    done = run("delete", JOB_ID)

    assert done.exit_code == 0
    assert "is being deleted" in done.stderr
