"""The checker finds what is wrong: each invariant is broken once, and only that one is found."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from chaos import rules_jobs
from chaos.checker import Hook, Received, Snapshot, Submitted, check, tally
from chaos.facts import MENDED, POISON, SOUND, Facts

from webhooks.signing import signed_headers

PCM = bytes(range(200)) + bytes(range(1, 201))  # 200 samples, two chunks of 100
SECOND_CHUNK = PCM[200:400]
TIMELINE = "s3://calls/earwitness/timelines/t.pcm"
UPLOADS = "s3://calls/earwitness/uploads/"
SECRET = "whsec_" + "c2VjcmV0" * 4
PATH = "/default/ends"


def say(pcm: bytes, request: Any) -> str:
    return hashlib.sha256(pcm).hexdigest() + request["task"]


def chunk(index: int) -> dict[str, Any]:
    start = 100 * index
    return {
        "id": f"c{index}", "tenant": "default", "recording_id": "r", "channel": 0, "index": index,
        "owned_start": start, "owned_end": start + 100, "heard_start": start, "heard_end": start + 100,
    }  # fmt: skip


def passed(some_id: str, kind: str, **more: Any) -> dict[str, Any]:
    return {
        "id": some_id, "tenant": "default", "kind": kind, "state": "done", "job_id": "j", "recording_id": "r",
        "chunk_id": None, "request_ids": [], "epoch": 1, "attempts": 1, "errors": 0, "crashes": 0, **more,
    }  # fmt: skip


def result(index: int) -> dict[str, Any]:
    heard = PCM[200 * index : 200 * index + 200]
    return {
        "id": f"x{index}", "tenant": "default", "recording_id": "r", "chunk_id": f"c{index}", "request_id": "q",
        "pass_id": f"u{index}", "epoch": 1, "raw_text": say(heard, {"task": "caption"}),
    }  # fmt: skip


def event(number: int, kind: str, link: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "id": f"e{number}", "tenant": "default", "job_id": "j", "job_recording_id": link, "kind": kind, "at": number,
        "data": {}, **more,
    }  # fmt: skip


def message(event_id: str = "e3", status: int | None = 204, **more: Any) -> Received:
    body = json.dumps({"type": "job.succeeded", "data": {"job": {"id": "j", "state": "succeeded"}}})
    signature = signed_headers([SECRET], event_id, 1_000, body.encode())["webhook-signature"]
    received = Received(PATH, event_id, "1000", signature, body, status, at=1_001.0)
    return replace(received, **more)


@pytest.fixture
def snapshot() -> Snapshot:
    """A service at rest after one job of one recording of two chunks, and one submission without an answer."""
    tables: dict[str, list[dict[str, Any]]] = {
        "jobs": [
            {"id": "j", "tenant": "default", "state": "succeeded", "metadata": {"mark": "m"}, "recordings_total": 1,
             "recordings_done": 1, "recordings_partial": 0, "recordings_failed": 0, "recordings_skipped": 0,
             "recordings_cancelled": 0, "webhook_id": None}
        ],
        "job_recordings": [
            {"id": "l", "tenant": "default", "job_id": "j", "recording_id": "r", "uri": "s3://calls/a",
             "state": "succeeded", "error_code": None}
        ],
        "job_requests": [{"tenant": "default", "job_id": "j", "request_id": "q"}],
        "recordings": [
            {"id": "r", "tenant": "default", "uri": "s3://calls/a", "duration_samples": 200, "timeline_uri": TIMELINE,
             "timeline_sha256": hashlib.sha256(PCM).hexdigest()}
        ],
        "requests": [{"id": "q", "tenant": "default", "task": "caption"}],
        "recording_requests": [
            {"tenant": "default", "recording_id": "r", "request_id": "q", "state": "stitched", "chunks_total": 2,
             "chunks_done": 2, "chunks_failed": 0}
        ],
        "chunks": [chunk(0), chunk(1)],
        "passes": [
            passed("p", "plan"), passed("f", "finish"),
            *(passed(f"u{i}", "understand", chunk_id=f"c{i}", request_ids=["q"]) for i in range(2)),
        ],
        "results": [result(0), result(1)],
        "annotations": [
            {"tenant": "default", "recording_id": "r", "request_id": "q", "index": i, "text": result(i)["raw_text"]}
            for i in range(2)
        ],
        "events": [event(1, "job.accepted"), event(2, "recording.succeeded", "l"), event(3, "job.succeeded")],
        "idempotency_keys": [{"key": "m", "status": 202, "job_id": "j"}],
        "webhooks": [{"id": "w", "tenant": "default", "events": [], "of_all_jobs": True}],
        "webhook_deliveries": [
            {"id": "d", "tenant": "default", "event_id": "e3", "webhook_id": "w", "job_id": "j", "state": "delivered"}
        ],
        "webhook_attempts": [
            {"tenant": "default", "delivery_id": "d", "status_code": status} for status in (500, 204)
        ],
    }  # fmt: skip
    shown = {"recordings": {"total": 1, "succeeded": 1, "partial": 0, "failed": 0}}
    return Snapshot(
        tables,
        {TIMELINE: hashlib.sha256(PCM).hexdigest()},
        [
            Submitted("m", "acknowledged", ["s3://calls/a"], job_id="j", shown=shown),
            Submitted("n", "unknown", ["s3://calls/a"]),
        ],
        {"s3://calls/a": PCM, "upload://u/a": PCM}.get,
        say,
        most_attempts=5,
        collected=True,
        uploads_at=UPLOADS,
        received=[message(status=500), message(), message()],
        hooks={PATH: Hook("w", SECRET)},
    )


def test_a_service_that_kept_its_promises_passes(snapshot: Snapshot) -> None:
    assert check(snapshot) == []


Tables = dict[str, list[dict[str, Any]]]


def drop(table: str, place: int = 0) -> Callable[[Tables], None]:
    return lambda tables: tables[table].pop(place) and None


def put(table: str, column: str, value: Any, place: int = 0) -> Callable[[Tables], None]:
    return lambda tables: tables[table][place].update({column: value})


def double(table: str, **more: Any) -> Callable[[Tables], None]:
    return lambda tables: tables[table].append({**tables[table][0], **more})


@pytest.mark.parametrize(
    ("invariant", "kind", "harm"),
    [
        ("I1", "lost", put("jobs", "metadata", {})),
        ("I1", "doubled", double("jobs", id="j2")),
        ("I1", "lost", put("job_recordings", "uri", "s3://calls/b")),
        ("I2", "lost", drop("results")),
        ("I2", "doubled", double("results", id="x9")),
        ("I2", "doubled", put("results", "epoch", 2)),
        ("I2", "lost", put("results", "raw_text", "something else")),
        ("I3", "lost", put("jobs", "recordings_done", 0)),
        ("I3", "doubled", put("recording_requests", "chunks_done", 3)),
        ("I4", "stuck", put("jobs", "state", "running")),
        ("I4", "stuck", put("passes", "state", "leased")),
        ("I4", "stuck", put("webhook_deliveries", "state", "pending")),
        ("I5", "doubled", lambda tables: tables["events"].append(event(4, "job.succeeded"))),
        ("I5", "doubled", lambda tables: tables["events"].append(event(4, "recording.failed", "l"))),
        ("I7", "lost", put("chunks", "owned_start", 90, 1)),
        ("I7", "lost", drop("chunks", 1)),
        ("I7", "lost", drop("annotations")),
        ("I8", "doubled", double("webhook_deliveries", id="d2")),
        ("I8", "lost", put("webhook_deliveries", "event_id", "e2")),
        ("I8", "doubled", put("webhook_attempts", "status_code", 200)),
        ("I9", "lost", put("recordings", "timeline_uri", "s3://calls/earwitness/other.pcm")),
        ("I9", "doubled", put("recordings", "timeline_uri", None)),
        ("I10", "lost", put("chunks", "tenant", "other")),
        ("I11", "stuck", put("passes", "attempts", 6)),
        ("I11", "doubled", put("passes", "crashes", 1)),
    ],
)
def test_each_broken_promise_is_found(
    snapshot: Snapshot, invariant: str, kind: str, harm: Callable[[Tables], None]
) -> None:
    tables = copy.deepcopy(dict(snapshot.tables))
    harm(tables)  # type: ignore[arg-type]
    found = check(replace(snapshot, tables=tables))
    assert (invariant, kind) in {(violation.invariant, violation.kind) for violation in found}
    assert tally(found)[kind] > 0


def test_a_cancel_that_was_acknowledged_stays(snapshot: Snapshot) -> None:
    sent = replace(snapshot.submitted[0], cancelled=True)
    assert [one.invariant for one in check(replace(snapshot, submitted=[sent]))] == ["I6"]


def test_a_repeated_submission_is_the_same_job(snapshot: Snapshot) -> None:
    sent = replace(snapshot.submitted[0], again="j2")
    assert [one.invariant for one in check(replace(snapshot, submitted=[sent]))] == ["I1"]


@pytest.mark.parametrize(
    ("named", "state", "found"),
    [
        (["s3://calls/a"], "expanded", []),
        (["s3://calls/a", "s3://calls/b"], "expanded", ["I1"]),
        ([], "expanded", ["I1"]),
        (["s3://calls/a"], "failed", ["I4"]),
        (["s3://calls/a"], "expanding", ["I4"]),
        (["s3://calls/a"], None, ["I1"]),
    ],
)
def test_a_job_has_what_its_listing_names(
    snapshot: Snapshot, named: list[str], state: str | None, found: list[str]
) -> None:
    row = {
        "id": "s",
        "tenant": "default",
        "job_id": "j",
        "uri": "s3://calls/",
        "state": state,
        "error_code": "x",
    }
    sent = replace(snapshot.submitted[0], uris=[], listings=["s3://calls/"])
    listing = replace(
        snapshot,
        tables={**snapshot.tables, "job_sources": [row] if state else []},
        submitted=[sent],
        listed=lambda _: named,
    )
    assert [one.invariant for one in check(listing)] == found


@pytest.mark.parametrize(
    ("uris", "state", "found"),
    [
        (["s3://calls/a", "s3://calls/b"], "succeeded", []),
        (["s3://calls/a"], "succeeded", ["I1"]),
        (["s3://calls/a"], "cancelled", []),
        (["s3://calls/a", "s3://calls/b", "s3://calls/c"], "succeeded", ["I1"]),
    ],
)
def test_a_retry_of_a_cancelled_job_lists_on(
    snapshot: Snapshot, uris: list[str], state: str, found: list[str]
) -> None:
    tables = copy.deepcopy(dict(snapshot.tables))
    tables["jobs"][0]["state"] = tables["job_recordings"][0]["state"] = "cancelled"
    tables["job_sources"] = [{"id": "s", "job_id": "j", "uri": "s3://calls/", "state": "cancelled"}]
    tables["jobs"].append({**tables["jobs"][0], "id": "j2", "state": state})
    tables["job_requests"].append({"job_id": "j2", "request_id": "q"})
    tables["events"].append(event(9, "job.accepted", job_id="j2", data={"retry_of": "j"}))
    tables["job_recordings"] += [{"id": uri, "job_id": "j2", "uri": uri, "state": state} for uri in uris]
    first = replace(snapshot.submitted[0], listings=["s3://calls/"])
    again = Submitted("o", "acknowledged", (), job_id="j2", kind="retry", of="j")
    asked = replace(
        snapshot,
        tables=tables,
        submitted=[first, again],
        listed=lambda _: ["s3://calls/a", "s3://calls/b"],
    )
    assert [one.invariant for one in rules_jobs.submits(Facts(asked))] == found


def test_what_is_left_behind_is_found(snapshot: Snapshot) -> None:
    found = check(
        replace(snapshot, scratch=["p.1"], unfinished=["/calls/x"], foreign_reads=["b saw a's job j"])
    )
    assert [one.invariant for one in found] == ["I9", "I9", "I10"]


def found_in(snapshot: Snapshot) -> set[tuple[str, str]]:
    return {(one.invariant, one.kind) for one in check(snapshot)}


@pytest.mark.parametrize(
    "received",
    [
        [],
        [message(status=500)],
        [message(status=None)],
        [message(), message(at=1_500.0)],
        [message(), message(body=message().body + " ")],
        [message(), message(signature="v1,AAAA")],
        [message(), message("e1")],
        [message(), message("e9")],
        [message(), message(path="/elsewhere")],
        [message(), message(body="")],
    ],
    ids=[
        "nothing", "refused", "unanswered", "late", "different", "unsigned", "unwanted", "unheard of", "elsewhere",
        "cut off",
    ],
)  # fmt: skip
def test_a_message_that_is_missing_or_wrong_is_found(snapshot: Snapshot, received: list[Received]) -> None:
    assert {invariant for invariant, _ in found_in(replace(snapshot, received=received))} == {"I8"}


def test_a_message_about_another_tenants_job_is_found(snapshot: Snapshot) -> None:
    tables = {**snapshot.tables, "webhooks": [{**snapshot.tables["webhooks"][0], "tenant": "other"}]}
    assert ("I8", "lost") in found_in(replace(snapshot, tables=tables))


def test_an_event_that_nobody_recorded_a_delivery_of_is_found(snapshot: Snapshot) -> None:
    told = [*snapshot.tables["webhooks"], {**snapshot.tables["webhooks"][0], "id": "w2"}]
    assert found_in(replace(snapshot, tables={**snapshot.tables, "webhooks": told})) == {("I8", "lost")}


def gone(snapshot: Snapshot, *, deleted: str = "acknowledged", **left: Any) -> Snapshot:
    """Delete the job: its events are left, and what ``left`` names."""
    events = [*snapshot.tables["events"], event(4, "job.deleted")]
    kept = {name: snapshot.tables[name] for name in ("requests", "webhooks")}
    submitted = [replace(snapshot.submitted[0], deleted=deleted, shown=None), snapshot.submitted[1]]
    tables = {**kept, "events": events, **left}
    return replace(snapshot, tables=tables, submitted=submitted, objects={})


def test_a_deleted_job_leaves_its_events_and_what_was_told_of_it(snapshot: Snapshot) -> None:
    assert check(gone(snapshot)) == []
    assert check(gone(snapshot, deleted="asked")) == []
    assert check(replace(gone(snapshot), received=[])) == []


def test_a_job_that_is_gone_without_anybody_asking_is_found(snapshot: Snapshot) -> None:
    assert found_in(gone(snapshot, deleted="no")) == {("I1", "lost"), ("I5", "lost")}
    silent = gone(snapshot, events=snapshot.tables["events"])
    assert found_in(silent) == {("I1", "lost"), ("I5", "lost")}


def test_a_deleted_job_that_is_still_there_is_found(snapshot: Snapshot) -> None:
    sent = replace(snapshot.submitted[0], deleted="acknowledged")
    assert found_in(replace(snapshot, submitted=[sent])) == {("I4", "stuck")}


@pytest.mark.parametrize("table", ["idempotency_keys", "job_requests"])
def test_a_row_that_a_deleted_job_leaves_is_found(snapshot: Snapshot, table: str) -> None:
    assert ("I9", "doubled") in found_in(gone(snapshot, **{table: snapshot.tables[table]}))


def test_a_recording_that_no_job_links_to_is_found(snapshot: Snapshot) -> None:
    assert ("I9", "doubled") in found_in(gone(snapshot, recordings=snapshot.tables["recordings"]))


def test_events_behind_a_deletion_are_found(snapshot: Snapshot) -> None:
    events = [*snapshot.tables["events"], event(4, "job.deleted"), event(5, "pass.retried")]
    assert found_in(gone(snapshot, events=events)) == {("I5", "doubled")}


def test_a_deletion_that_takes_what_another_job_links_to_is_found(snapshot: Snapshot) -> None:
    tables = dict(snapshot.tables) | {"results": [], "annotations": [], "passes": []}
    tables["recording_requests"] = []
    assert found_in(replace(snapshot, tables=tables)) == {("I2", "lost")}


def test_an_upload_that_a_job_names_has_to_stay(snapshot: Snapshot) -> None:
    link = {**snapshot.tables["job_recordings"][0], "uri": "upload://u/a"}
    sent = replace(snapshot.submitted[0], uris=["upload://u/a"])
    there = {**snapshot.objects, UPLOADS + "default/u/a": hashlib.sha256(PCM).hexdigest()}
    named = replace(
        snapshot, tables={**snapshot.tables, "job_recordings": [link]}, submitted=[sent], objects=there
    )
    assert check(named) == []
    assert found_in(replace(named, objects=snapshot.objects)) == {("I9", "lost")}
    assert found_in(replace(snapshot, objects=there)) == {("I9", "doubled")}


def failed(snapshot: Snapshot) -> Snapshot:
    """Let the second chunk fail for good: the recording and the job are partial."""
    tables = copy.deepcopy({name: list(rows) for name, rows in snapshot.tables.items()})
    tables["passes"][3] |= {"state": "failed", "errors": 1, "error_code": "unhearable"}
    del tables["results"][1], tables["annotations"][1]
    tables["recording_requests"][0] |= {"chunks_done": 1, "chunks_failed": 1}
    tables["job_recordings"][0] |= {"state": "partial", "error_code": "chunks_failed"}
    tables["jobs"][0] |= {"state": "partial", "recordings_partial": 1}
    tables["events"] = [event(1, "job.accepted"), event(2, "recording.partial", "l"), event(3, "job.partial")]
    told = {"type": "job.partial", "data": {"job": {"id": "j", "state": "partial"}}}
    body = json.dumps(told)
    signature = signed_headers([SECRET], "e3", 1_000, body.encode())["webhook-signature"]
    sent = replace(snapshot.submitted[0], shown=None)
    return replace(
        snapshot,
        tables=tables,
        submitted=[sent],
        received=[message(body=body, signature=signature)],
        fate=lambda heard: POISON if heard == SECOND_CHUNK else SOUND,
    )


def test_a_chunk_may_fail_where_its_samples_make_it(snapshot: Snapshot) -> None:
    assert check(failed(snapshot)) == []


def test_a_chunk_that_fails_without_a_reason_is_found(snapshot: Snapshot) -> None:
    assert found_in(replace(failed(snapshot), fate=lambda heard: SOUND)) == {("I2", "lost")}


def test_a_recording_that_ends_otherwise_than_its_samples_say_is_found(snapshot: Snapshot) -> None:
    assert ("I2", "lost") in found_in(replace(snapshot, fate=lambda heard: POISON))
    assert ("I2", "lost") in found_in(replace(snapshot, is_broken=lambda pcm: True))


def test_what_can_be_mended_may_end_both_ways(snapshot: Snapshot) -> None:
    assert check(replace(snapshot, fate=lambda heard: MENDED)) == []
    assert check(replace(failed(snapshot), fate=lambda heard: MENDED)) == []


def test_failed_chunks_are_counted_by_their_newest_pass(snapshot: Snapshot) -> None:
    tables = dict(failed(snapshot).tables)
    miscounted = {**tables["recording_requests"][0], "chunks_failed": 0, "state": "open"}
    assert ("I3", "doubled") in found_in(
        replace(failed(snapshot), tables={**tables, "recording_requests": [miscounted]})
    )


def retried(snapshot: Snapshot, **more: Any) -> Snapshot:
    """A retry of the partial job, which found the chunk mended."""
    before, after = failed(snapshot), snapshot.tables
    tables = {name: list(rows) for name, rows in before.tables.items()}
    tables["jobs"].append({**after["jobs"][0], "id": "k", "metadata": {"mark": "m"}, **more})
    tables["job_recordings"].append({**after["job_recordings"][0], "id": "l2", "job_id": "k"})
    tables["job_requests"].append({**after["job_requests"][0], "job_id": "k"})
    tables["passes"].append(passed("u9", "understand", chunk_id="c1", request_ids=["q"], job_id="k"))
    tables["results"].append({**result(1), "pass_id": "u9"})
    tables["annotations"] = list(after["annotations"])
    tables["recording_requests"] = list(after["recording_requests"])
    tables["events"] += [
        event(4, "job.accepted", job_id="k", data={"retry_of": "j"}),
        event(5, "recording.succeeded", "l2", job_id="k"),
        event(6, "job.succeeded", job_id="k", tenant="quiet"),
    ]
    retry = Submitted("r", "acknowledged", (), job_id="k", kind="retry", of="j")
    return replace(before, tables=tables, submitted=[before.submitted[0], retry], fate=lambda heard: MENDED)


def test_a_retry_is_a_new_job_and_the_old_one_stays_as_it_was(snapshot: Snapshot) -> None:
    assert check(retried(snapshot)) == []


def test_a_retry_that_came_to_be_twice_or_not_at_all_is_found(snapshot: Snapshot) -> None:
    run = retried(snapshot)
    twice = [*run.tables["events"], event(7, "job.accepted", job_id="k2", data={"retry_of": "j"})]
    assert ("I1", "doubled") in found_in(replace(run, tables={**run.tables, "events": twice}))
    lost = replace(run.submitted[1], job_id="k3")
    assert ("I1", "lost") in found_in(replace(run, submitted=[run.submitted[0], lost]))


def test_a_retry_of_other_sources_or_requests_is_found(snapshot: Snapshot) -> None:
    run = retried(snapshot)
    links = [run.tables["job_recordings"][0], {**run.tables["job_recordings"][1], "uri": "upload://u/a"}]
    assert ("I1", "lost") in found_in(replace(run, tables={**run.tables, "job_recordings": links}))
    asked = run.tables["job_requests"][:1]
    assert ("I1", "lost") in found_in(replace(run, tables={**run.tables, "job_requests": asked}))


def test_a_job_that_was_seen_at_its_end_stays_as_it_was_seen(snapshot: Snapshot) -> None:
    seen = replace(snapshot.submitted[0], ended="failed")
    assert found_in(replace(snapshot, submitted=[seen])) == {("I5", "doubled")}
