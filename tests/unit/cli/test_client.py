from __future__ import annotations

from contextlib import nullcontext

import httpx
import pytest

from cli.client import ApiClient
from cli.errors import ApiProblem, ApiUnreachable, InvalidKey, SourceNotFound, Unsendable

PROBLEM = {
    "status": 422,
    "code": "invalid_request",
    "title": "The request is not valid",
    "detail": "all of it",
    "errors": [{"field": "tasks[0].task", "message": "there is no task 'x'"}],
}


def test_pages_are_followed_to_the_last_with_the_same_query(client, api):
    api.answers["GET /v1/jobs"] = [
        {"items": [1, 2], "next": "b"},
        {"items": [3], "next": "c"},
        {"items": [], "next": None},
    ]

    assert list(client.pages("/v1/jobs", limit=2)) == [1, 2, 3]
    assert [str(request.url.query, "ascii") for request in api.requests] == [
        "limit=2",
        "limit=2&after=b",
        "limit=2&after=c",
    ]


def test_a_problem_is_told_with_its_fields(client, api):
    api.answers["POST /v1/jobs"] = (422, PROBLEM)

    with pytest.raises(ApiProblem) as caught:
        client.submit({})
    assert (
        str(caught.value)
        == "The request is not valid (invalid_request)\n  tasks[0].task: there is no task 'x'"
    )
    assert caught.value.status == 422


def test_a_problem_without_fields_is_told_with_its_detail(client, api):
    api.answers["GET /v1/jobs/7"] = (404, {**PROBLEM, "status": 404, "code": "not_found", "errors": []})

    with pytest.raises(ApiProblem, match="all of it"):
        client.get("/v1/jobs/7")


@pytest.mark.parametrize("error", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_an_api_that_does_not_answer_is_named_with_what_to_run(client, api, error):
    api.answers["GET /v1/jobs"] = error

    with pytest.raises(ApiUnreachable, match=r"http://api .*earwitness up"):
        client.get("/v1/jobs")


LOST = httpx.ReadTimeout("slow")
IN_FLIGHT = (409, {**PROBLEM, "status": 409, "code": "idempotency_key_in_flight"})
REFUSED = (422, PROBLEM)


def _away(status):
    return status, {"status": status, "code": "foreign", "title": "x", "detail": "y"}


@pytest.fixture
def slept(monkeypatch):
    slept = []
    monkeypatch.setattr("cli.client.time.sleep", slept.append)
    monkeypatch.setattr("cli.client.time.monotonic", lambda: sum(slept))
    return slept


@pytest.mark.parametrize(
    "lost", [[LOST], [_away(502)], [LOST, httpx.ConnectError("refused"), _away(503), _away(504), IN_FLIGHT]]
)
def test_a_job_whose_answer_was_lost_is_asked_for_again_and_once(client, api, slept, lost):
    api.answers["POST /v1/jobs"] = [*lost, (202, {"id": "7"})]

    assert client.submit({"tasks": []}) == {"id": "7"}
    assert len(api.requests) == len(lost) + 1
    assert len({request.headers["Idempotency-Key"] for request in api.requests}) == 1
    client.submit({"tasks": []})
    assert len({request.headers["Idempotency-Key"] for request in api.requests}) == 2


@pytest.mark.parametrize("answer", [httpx.ConnectError("refused"), _away(503), REFUSED, IN_FLIGHT])
def test_what_was_surely_not_done_is_said_at_once(client, api, slept, answer):
    api.answers["POST /v1/jobs"] = answer

    with pytest.raises((ApiUnreachable, ApiProblem)) as raised:
        client.submit({})
    assert (len(api.requests), slept) == (1, [])
    assert "not known" not in str(raised.value)


def test_an_answer_that_never_comes_leaves_it_open_and_says_so(client, api, slept):
    api.answers["POST /v1/jobs"] = LOST

    with pytest.raises(ApiUnreachable, match=r"(?s)no answer from http://api .*it is not known"):
        client.submit({})
    assert sum(slept) == 30


def test_a_refusal_after_a_lost_answer_is_a_clear_one(client, api, slept):
    api.answers["POST /v1/jobs"] = [LOST, REFUSED]

    with pytest.raises(ApiProblem, match="there is no task"):
        client.submit({})


def test_a_url_that_is_none_is_said():
    with ApiClient("localhost:8000") as client, pytest.raises(ApiUnreachable, match="http://HOST:PORT"):
        client.get("/v1/jobs")


@pytest.mark.parametrize("url", ["http://host:port", "http://\udcff", "http://a\nb"])
def test_a_url_that_cannot_be_read_is_said(url):
    with pytest.raises(ApiUnreachable, match="http://HOST:PORT"):
        ApiClient(url)


@pytest.mark.parametrize("key", ["ew_key\n", "kéy"])
def test_a_key_that_no_header_can_carry_is_said(key):
    with pytest.raises(InvalidKey, match="EARWITNESS_API_KEY"):
        ApiClient("http://api", token=key)


@pytest.mark.parametrize("value", ["\udcff", float("nan"), float("inf")])
def test_what_json_cannot_hold_is_said_and_not_sent(client, api, value):
    with pytest.raises(Unsendable, match="UTF-8"):
        client.submit({"tracking": value})
    assert api.requests == []


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"\xff"])
def test_a_success_of_something_else_is_told_apart(body):
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=body))
    with (
        ApiClient("http://other", transport) as client,
        pytest.raises(ApiProblem, match="is it Earwitness"),
    ):
        client.get("/v1/jobs")


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b'{"detail": "Not Found"}', b"\xff", b'{"code": 5, "errors": [{"loc": 1}]}'],
)
def test_an_answer_of_something_else_is_told_apart(body):
    transport = httpx.MockTransport(lambda request: httpx.Response(502, content=body))
    with (
        ApiClient("http://proxy", transport) as client,
        pytest.raises(ApiProblem, match="is it Earwitness") as caught,
    ):
        client.get("/v1/jobs")
    assert caught.value.status == 502


def test_an_upload_sends_the_file_under_its_name_and_counts_what_goes_out(client, api, tmp_path):
    path = tmp_path / "a call.wav"
    path.write_bytes(b"RIFF" * 50_000)
    api.answers["POST /v1/uploads"] = (201, {"uri": "upload://x/a-call.wav"})
    counts: list[int] = []

    assert client.upload(path, counts.append) == "upload://x/a-call.wav"
    assert sum(counts) == 200_000
    assert len(counts) > 2
    body = api.requests[0].content
    assert b'name="file"; filename="a call.wav"' in body
    assert b"RIFF" * 50_000 in body
    assert api.requests[0].headers["content-length"] == str(len(body))


def test_a_file_that_cannot_be_read_is_named(client, tmp_path):
    with pytest.raises(SourceNotFound, match=r"gone.wav cannot be read"):
        client.upload(tmp_path / "gone.wav")


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"status": "ready"}, nullcontext()),
        ((503, PROBLEM), pytest.raises(ApiProblem)),
        (httpx.ConnectError("refused"), pytest.raises(ApiUnreachable)),
    ],
)
def test_an_api_is_ready_when_it_says_so(client, api, answer, outcome):
    api.answers["GET /readyz"] = answer

    with outcome:
        client.check_ready()


def test_who_has_no_key_is_told_where_this_command_takes_it_from(client, api):
    problem = {
        "status": 401,
        "code": "unauthorized",
        "title": "There is no key that works",
        "detail": "Send one.",
    }
    api.answers["GET /v1/jobs"] = (401, problem)

    with pytest.raises(ApiProblem, match="EARWITNESS_API_KEY"):
        client.get("/v1/jobs")
