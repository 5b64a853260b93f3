from __future__ import annotations

import json

import httpx
import pytest

from cli import watching

JOB_ID = "0198f0a1-7c5e-7000-8000-000000000001"
RECORDING_ID = JOB_ID.replace("1", "2")
REQUEST_ID = JOB_ID[:-1] + "4"
NOT_FOUND = (
    404,
    {"status": 404, "code": "not_found", "title": "There is no such thing", "detail": "no job", "errors": []},
)


def page(*items) -> dict:
    return {"items": list(items), "next": None}


def test_submit_uploads_files_passes_uris_on_and_prints_the_id(run, api, job, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    api.answers = {
        "POST /v1/uploads": (201, {"uri": "upload://x/a.wav"}),
        "POST /v1/jobs": (202, job("queued")),
    }

    done = run(
        "submit", "s3://archive/1", tmp_path / "a.wav", "--task", "caption", "--task", "transcribe:itn=true"
    )

    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == JOB_ID
    assert api.sent() == {
        "sources": [{"uri": "s3://archive/1"}, {"uri": "upload://x/a.wav"}],
        "tasks": [{"task": "caption", "options": {}}, {"task": "transcribe", "options": {"itn": True}}],
        "channels": "mix",
        "priority": 0,
    }


def test_submit_transcribes_when_nothing_else_is_asked(run, api, job):
    api.answers["POST /v1/jobs"] = (202, job("queued"))

    assert run("submit", "s3://archive/1", "--channels", "split", "--priority", 3).exit_code == 0
    assert api.sent()["tasks"] == [{"task": "transcribe", "options": {}}]
    assert (api.sent()["channels"], api.sent()["priority"]) == ("split", 3)


@pytest.mark.parametrize(
    ("state", "exit_code"), [("succeeded", 0), ("partial", 1), ("failed", 1), ("cancelled", 1)]
)
def test_submit_waits_and_ends_as_the_job_does(run, api, job, row, state, exit_code):
    api.answers = {
        "POST /v1/jobs": (202, job("queued")),
        f"GET /v1/jobs/{JOB_ID}": [job("queued", 0, 0), job("running", 6), job(state)],
        f"GET /v1/jobs/{JOB_ID}/recordings": page(row(state, {"code": "decode_failed", "message": "broken"})),
    }

    done = run("submit", "s3://archive/1", "--wait")

    assert done.exit_code == exit_code
    assert done.stdout.strip() == JOB_ID
    assert "12/12 s of audio" in done.stderr
    assert ("earwitness failures" in done.stderr) == (state in ("partial", "failed"))
    assert "decode_failed: broken" in done.stderr


def test_submit_can_print_json(run, api, job):
    api.answers["POST /v1/jobs"] = (202, job("queued"))

    assert json.loads(run("submit", "s3://archive/1", "--json").stdout) == job("queued")


@pytest.mark.parametrize("status", [502, 503, 504])  # a proxy has statuses of its own
def test_a_wait_survives_an_api_that_starts_again(run, api, job, row, status):
    away = (status, {"status": status, "code": "database_unavailable", "errors": []})
    api.answers = {
        "POST /v1/jobs": (202, job("queued")),
        f"GET /v1/jobs/{JOB_ID}": [httpx.ConnectError("refused"), away, job("succeeded")],
        f"GET /v1/jobs/{JOB_ID}/recordings": page(row()),
    }

    assert run("submit", "s3://archive/1", "--wait").exit_code == 0


def test_a_wait_does_not_last_for_ever(run, api, job):
    api.answers = {
        "POST /v1/jobs": (202, job("queued")),
        f"GET /v1/jobs/{JOB_ID}": httpx.ConnectError("refused"),
    }

    done = run("submit", "s3://archive/1", "--wait")

    assert done.exit_code == 1
    assert "earwitness up" in done.stderr
    assert f"the job goes on: see `earwitness status {JOB_ID}`" in done.stderr
    assert len(api.requests) < 100


@pytest.mark.parametrize("command", [("submit", "s3://archive/1"), ("retry", JOB_ID)])
def test_whoever_stops_waiting_is_told_the_id_of_the_job(run, api, job, monkeypatch, command):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(watching, "watch_jobs", interrupted)
    api.answers = {
        "POST /v1/jobs": (202, job("queued")),
        f"POST /v1/jobs/{JOB_ID}/retry": (202, job("queued")),
    }

    done = run(*command, "--wait")

    assert done.exit_code == 130
    assert f"the job goes on: see `earwitness status {JOB_ID}`" in done.stderr


def test_nothing_is_sent_when_a_file_or_a_task_is_wrong(run, api):
    for arguments, says in (
        (["nothing.wav"], "no file"),
        (["s3://archive/1", "--task", "x:y"], "is no task"),
    ):
        done = run("submit", *arguments)
        assert done.exit_code == 1
        assert says in done.stderr
        assert "Traceback" not in done.output
    assert api.requests == []


def test_a_refused_job_is_told_by_field(run, api):
    errors = [{"field": "tasks[0].task", "message": "there is no task 'captions': choose one of caption"}]
    api.answers["POST /v1/jobs"] = (
        422,
        {"status": 422, "title": "Not valid", "code": "invalid_request", "errors": errors},
    )

    done = run("submit", "s3://archive/1", "--task", "captions")

    assert done.exit_code == 1
    assert "Not valid (invalid_request)" in done.stderr
    assert "tasks[0].task: there is no task 'captions'" in done.stderr


def test_status_lists_jobs(run, api, job):
    api.answers["GET /v1/jobs"] = page(job("running", pending=1, succeeded=0))

    done = run("status")

    assert JOB_ID in done.stdout
    assert "running" in done.stdout
    assert "01-02 03:04" in done.stdout


def test_lists_of_jobs_fit_into_eighty_columns(run, api, job, monkeypatch):
    from cli import terminal

    api.answers["GET /v1/jobs"] = page(job("succeeded"), job("cancelled"))
    for command in ("status", "jobs"):
        monkeypatch.setattr(terminal.out, "_width", 80)
        assert len(run(command).stdout.splitlines()) == 3  # a head and one line each


def test_where_there_is_no_job_there_is_no_empty_table(run, api):
    api.answers["GET /v1/jobs"] = page()

    assert [run(command).stdout for command in ("status", "jobs")] == ["", ""]
    assert "there is no job" in run("jobs").stderr
    assert json.loads(run("jobs", "--json").stdout) == []


def test_what_an_error_and_a_warning_both_say_is_said_once(run, api, job, row):
    told = "truncated: declared 14.55 s, decoded 0.18 s"
    cut = row("partial", {"code": "truncated", "message": told}, warnings=[told])
    api.answers = {f"GET /v1/jobs/{JOB_ID}": job("partial"), f"GET /v1/jobs/{JOB_ID}/recordings": page(cut)}

    shown = run("status", JOB_ID).stdout

    assert shown.count("truncated") == 1


def test_a_job_without_audio_ends_without_seconds(run, api, job):
    api.answers = {
        "POST /v1/jobs": (202, job("queued")),
        f"GET /v1/jobs/{JOB_ID}": job("failed", 0, 0),
        f"GET /v1/jobs/{JOB_ID}/recordings": page(),
    }

    assert "no audio" in run("submit", "s3://archive/1", "--wait").stderr


def test_status_of_a_job_shows_its_recordings_with_errors_and_warnings(run, api, job, row):
    missing = row("failed", {"code": "input_not_found", "message": "no such key"})
    missing["recording"] = None
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": job("partial", 6, 12),
        f"GET /v1/jobs/{JOB_ID}/recordings": page(row(warnings=["declared 9 s"]), missing),
    }

    done = run("status", JOB_ID)

    assert done.exit_code == 0, done.output
    assert "6 of 12 s of audio" in done.stdout
    assert RECORDING_ID in done.stdout
    assert "0:12.0" in done.stdout
    assert "declared 9 s" in done.stdout
    assert "input_not_found: no such key" in done.stdout


def test_ids_and_texts_stay_whole_on_a_narrow_terminal(run, api, job, row, monkeypatch):
    from cli import terminal

    monkeypatch.setattr(terminal.out, "_width", 80)
    long = row(warnings=["warning " * 20 + "end"])
    api.answers = {f"GET /v1/jobs/{JOB_ID}": job(), f"GET /v1/jobs/{JOB_ID}/recordings": page(long)}

    done = run("status", JOB_ID)

    assert JOB_ID in done.stdout
    assert RECORDING_ID in done.stdout
    assert "end" in done.stdout
    assert "…" not in done.stdout


SEGMENT = {
    "request_id": REQUEST_ID,
    "start_ms": 1_230,
    "end_ms": 4_120,
    "channel": 1,
    "text": "[bold]hello\x1b[31m",
    "flags": ["loop"],
    "words": [{"word": "hello", "start_ms": 61_250}],
}
NOTE = {
    "request_id": REQUEST_ID,
    "start_ms": 0,
    "end_ms": 1,
    "channel": 0,
    "task": "emotion",
    "text": None,
    "label": "calm",
    "flags": [],
}


SUMMARY = {
    "request_id": REQUEST_ID,
    "task": "emotion",
    "label": "calm",
    "text": "calm",
    "confidence": 0.83,
    "data": {"votes": {"calm": 0.83}},
}


def test_results_of_a_job_are_shown_with_words_and_annotations(run, api, job, row):
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": job(),
        f"GET /v1/jobs/{JOB_ID}/recordings": page(row()),
        f"GET /v1/recordings/{RECORDING_ID}/segments": page(SEGMENT),
        f"GET /v1/recordings/{RECORDING_ID}/annotations": page(NOTE),
        f"GET /v1/recordings/{RECORDING_ID}/summaries": page(SUMMARY),
    }

    done = run("results", JOB_ID)

    assert done.exit_code == 0, done.output
    assert "s3://archive/tape.flac" in done.stdout
    assert "hello 1:01.2" in done.stdout
    assert "calm" in done.stdout
    assert "83 %" in done.stdout
    assert "loop" in done.stdout


@pytest.mark.parametrize("asked", [1, 2])
def test_results_of_a_job_are_those_that_it_asked_for(run, api, job, row, asked):
    """One call for each list, whatever the job asked: the API filters for one request, we do for several."""
    mine, others = {"text": "mine"}, {"text": "another job's", "request_id": JOB_ID}
    path = f"GET /v1/recordings/{RECORDING_ID}"
    one_job = job()
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": {**one_job, "requests": one_job["requests"][:asked]},
        f"GET /v1/jobs/{JOB_ID}/recordings": page(row()),
        f"{path}/segments": page({**SEGMENT, **mine}, {**SEGMENT, **others}),
        f"{path}/annotations": page({**NOTE, **mine}, {**NOTE, **others}),
        f"{path}/summaries": page({**SUMMARY, **mine}, {**SUMMARY, **others}),
    }

    shown = run("results", JOB_ID).stdout

    assert shown.count("mine") == 3
    assert "another job's" not in shown
    filters = [request.url.params.get("request") for request in api.requests[2:]]
    assert sorted(filters, key=str) == ([REQUEST_ID, REQUEST_ID, None] if asked == 1 else [None] * 3)


def test_a_copy_that_shares_a_recording_is_named_by_its_own_uri(run, api, job, row):
    copy = {**row(), "uri": "s3://archive/copy.flac"}
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": job(),
        f"GET /v1/jobs/{JOB_ID}/recordings": page(copy),
        f"GET /v1/recordings/{RECORDING_ID}/segments": page(SEGMENT),
        f"GET /v1/recordings/{RECORDING_ID}/annotations": page(),
        f"GET /v1/recordings/{RECORDING_ID}/summaries": page(),
    }
    shown = run("results", JOB_ID).stdout
    assert "s3://archive/copy.flac" in shown
    assert "tape.flac" not in shown


def test_an_answer_stands_under_its_question(run, api, job, row):
    answers = [
        {**NOTE, "task": "ask", "text": "yes", "data": {"question": f"is it {it}?"}} for it in ("wet", "loud")
    ]
    api.answers = {
        f"GET /v1/recordings/{RECORDING_ID}": row()["recording"],
        f"GET /v1/jobs/{RECORDING_ID}": NOT_FOUND,
        f"GET /v1/recordings/{RECORDING_ID}/segments": page(),
        f"GET /v1/recordings/{RECORDING_ID}/annotations": page(*answers),
        f"GET /v1/recordings/{RECORDING_ID}/summaries": page(),
    }

    words = run("results", RECORDING_ID).stdout.split()

    assert [one for one in words if one in ("wet?", "loud?", "yes")] == ["wet?", "yes", "loud?", "yes"]


@pytest.mark.parametrize(
    ("task", "data", "shown"),
    [
        ("locate", {"count": 0}, "calm (0 times)"),
        ("transcribe", {"segments": 2, "words": 58}, "calm (58 words)"),
        ("translate", {"utterances": 1, "characters": 9}, "calm (1 utterances)"),
    ],
)
def test_a_summary_says_how_much_was_found(run, api, job, row, task, data, shown):
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": job(),
        f"GET /v1/jobs/{JOB_ID}/recordings": page(row()),
        f"GET /v1/recordings/{RECORDING_ID}/segments": page(),
        f"GET /v1/recordings/{RECORDING_ID}/annotations": page(),
        f"GET /v1/recordings/{RECORDING_ID}/summaries": page({**SUMMARY, "task": task, "data": data}),
    }

    assert shown in run("results", JOB_ID).stdout


def test_what_was_heard_cannot_steer_the_terminal(run, api, job, row):
    test_results_of_a_job_are_shown_with_words_and_annotations(run, api, job, row)
    done = run("results", JOB_ID)

    assert "\x1b[31m" not in done.stdout
    assert "[bold]hello" in done.stdout


def test_results_of_a_recording_are_found_by_its_id(run, api, row):
    api.answers = {
        f"GET /v1/jobs/{RECORDING_ID}": NOT_FOUND,
        f"GET /v1/recordings/{RECORDING_ID}": row()["recording"],
        f"GET /v1/recordings/{RECORDING_ID}/segments": page(),
        f"GET /v1/recordings/{RECORDING_ID}/annotations": page(),
        f"GET /v1/recordings/{RECORDING_ID}/summaries": page(),
    }

    done = run("results", RECORDING_ID, "--json")

    (recording,) = json.loads(done.stdout)
    assert recording["id"] == RECORDING_ID
    assert recording["segments"] == []
    assert "nothing was found" in run("results", RECORDING_ID).stdout


def test_results_say_why_a_source_gave_nothing_and_that_a_job_is_not_done(run, api, job, row):
    missing = row("failed", {"code": "input_not_found", "message": "no such key"})
    missing["recording"] = None
    api.answers = {
        f"GET /v1/jobs/{JOB_ID}": job("running"),
        f"GET /v1/jobs/{JOB_ID}/recordings": page(missing),
    }

    done = run("results", JOB_ID)

    assert "input_not_found: no such key" in done.stdout
    assert "more may follow" in done.stderr


def test_an_id_of_nothing_is_an_error(run, api):
    api.answers = {f"GET /v1/jobs/{JOB_ID}": NOT_FOUND, f"GET /v1/recordings/{JOB_ID}": NOT_FOUND}

    done = run("results", JOB_ID)

    assert done.exit_code == 1
    assert "not_found" in done.stderr


def test_tasks_are_listed_with_their_options_the_default_first(run, api):
    from pipeline.tasks import TASKS

    api.answers["GET /v1/tasks"] = page(
        *(
            {
                "name": t.name,
                "description": t.description,
                "cost": t.cost,
                "limits": dict(t.limits),
                "options": t.Options.model_json_schema(),
            }
            for t in TASKS.values()
        )
    )

    done = run("tasks")

    assert "timestamps=word|segment|none" in done.stdout
    assert "itn=false|true" in done.stdout
    assert "style=clotho|audiocaps|plain" in done.stdout
    assert "question=TEXT" in done.stdout
    assert "tokens a second" in done.stdout
    assert "2000" in done.stdout


def test_the_api_of_the_settings_is_asked_unless_another_is_named(run, api, monkeypatch):
    api.answers["GET /v1/jobs"] = page()
    monkeypatch.setenv("EARWITNESS_API_HOST", "0.0.0.0")
    monkeypatch.setenv("EARWITNESS_API_PORT", "81")

    run("status")
    run("status", "--api", "http://other:7/base/")

    assert [str(request.url.copy_with(query=None)) for request in api.requests] == [
        "http://127.0.0.1:81/v1/jobs",
        "http://other:7/base/v1/jobs",
    ]


def test_a_wrong_setting_is_named(run, monkeypatch):
    monkeypatch.setenv("EARWITNESS_API_PORT", "many")

    done = run("status")

    assert done.exit_code == 1
    assert "EARWITNESS_API_PORT" in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    "command",
    [("status",), ("results",), ("failures",), ("cancel",), ("delete",), ("webhooks", "remove")],
)
@pytest.mark.parametrize("wrong", ["", "nope", "../webhooks", f"{JOB_ID}/old-secret", f"{JOB_ID}?x"])
def test_what_is_no_id_reaches_no_path(run, api, command, wrong):
    done = run(*command, wrong)

    assert done.exit_code == 2
    assert "an id is a UUID" in done.output
    assert api.requests == []


def test_an_id_may_come_with_a_line_break(run, api, job):
    api.answers[f"POST /v1/jobs/{JOB_ID}/cancel"] = job("cancelled")

    assert run("cancel", f" {JOB_ID.upper()}\n").exit_code == 0
