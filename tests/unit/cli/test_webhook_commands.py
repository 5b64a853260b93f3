from __future__ import annotations

import pytest

ID = "0198f0a1-7c5e-7000-8000-000000000001"
AT = "2026-01-02T03:04:05.678Z"
WEBHOOK = {
    "id": ID,
    "url": "https://a.example/",
    "events": ["job.failed"],
    "of_all_jobs": True,
    "two_secrets": False,
    "failing_since": None,
    "disabled_at": None,
    "created_at": AT,
}
DELIVERY = {
    "id": ID.replace("1", "2"),
    "message_id": ID,
    "kind": "job.failed",
    "job_id": ID,
    "state": "failed",
    "payload": {},
    "created_at": AT,
    "finished_at": None,
    "attempts": [
        {"number": 1, "status_code": 503, "error_code": "webhook_status", "error_message": "status 503",
         "duration_ms": 7, "at": AT},
        {"number": 2, "status_code": 200, "error_code": None, "error_message": None, "duration_ms": 5, "at": AT},
    ],
}  # fmt: skip


def test_add_prints_the_secret(api, run):
    api.answers["POST /v1/webhooks"] = (201, {**WEBHOOK, "secret": "whsec_b25l"})
    shown = run("webhooks", "add", "https://a.example/", "--event", "job.failed")
    assert (shown.exit_code, f"{ID} whsec_b25l" in shown.output) == (0, True)
    assert api.sent() == {"url": "https://a.example/", "events": ["job.failed"]}
    run("webhooks", "add", "https://a.example/")
    assert api.sent() == {"url": "https://a.example/"}


@pytest.mark.parametrize(
    ("more", "said"),
    [({}, "works"), ({"failing_since": AT}, "failing since 2026"), ({"disabled_at": AT}, "disabled 2026")],
)
def test_list_says_whether_it_works(api, run, more, said):
    api.answers["GET /v1/webhooks"] = {"items": [{**WEBHOOK, **more}], "next": None}
    assert said in run("webhooks", "list").output
    assert f'"id": "{ID}"' in run("webhooks", "list", "--json").output


def test_deliveries_show_every_try(api, run):
    api.answers[f"GET /v1/webhooks/{ID}/deliveries"] = {"items": [DELIVERY], "next": None}
    shown = run("webhooks", "deliveries", ID, "--state", "failed").output
    assert "1: status 503 (7 ms)" in shown
    assert "2: 200 (5 ms)" in shown
    assert api.requests[-1].url.params["state"] == "failed"


def test_the_other_commands_ask_what_they_say(api, run):
    api.answers[f"DELETE /v1/webhooks/{ID}"] = (204, None)
    api.answers[f"DELETE /v1/webhooks/{ID}/old-secret"] = WEBHOOK
    api.answers[f"POST /v1/webhooks/{ID}/rotate"] = {**WEBHOOK, "secret": "whsec_dHdv"}
    api.answers[f"POST /v1/webhooks/{ID}/enable"] = WEBHOOK
    api.answers[f"POST /v1/webhooks/{ID}/deliveries/{DELIVERY['id']}/redeliver"] = (202, DELIVERY)
    for arguments, said in (
        (("remove", ID), "removed"),
        (("enable", ID), "works"),
        (("rotate", ID), "whsec_dHdv"),
        (("rotate", ID, "--finish"), "only the newest"),
        (("redeliver", ID, DELIVERY["id"]), "job.failed"),
    ):
        shown = run("webhooks", *arguments)
        assert (shown.exit_code, said in shown.output) == (0, True), (arguments, shown.output)
    assert [f"{one.method} {one.url.path}" for one in api.requests] == [
        f"DELETE /v1/webhooks/{ID}",
        f"POST /v1/webhooks/{ID}/enable",
        f"POST /v1/webhooks/{ID}/rotate",
        f"DELETE /v1/webhooks/{ID}/old-secret",
        f"POST /v1/webhooks/{ID}/deliveries/{DELIVERY['id']}/redeliver",
    ]


def test_submit_names_a_webhook_and_prints_its_new_secret(api, run, job):
    api.answers["POST /v1/jobs"] = (202, {**job(), "webhook": {"id": ID, "url": "u", "secret": "whsec_b25l"}})
    shown = run("submit", "s3://archive/tape.flac", "--webhook", "https://a.example/")
    assert "whsec_b25l" in shown.output
    assert api.sent()["webhook"] == "https://a.example/"
