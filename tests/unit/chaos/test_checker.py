"""The checker finds what is wrong: each invariant is broken once, and only that one is found."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from chaos.checker import Snapshot, Submitted, check, tally

PCM = bytes(range(200)) * 2  # 200 samples, two chunks of 100
TIMELINE = "s3://calls/earwitness/timelines/t.pcm"


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


def event(number: int, kind: str, link: str | None = None) -> dict[str, Any]:
    return {"id": f"e{number}", "job_id": "j", "job_recording_id": link, "kind": kind, "at": number}


@pytest.fixture
def snapshot() -> Snapshot:
    """A service at rest after one job of one recording of two chunks, and one submission without an answer."""
    tables: dict[str, list[dict[str, Any]]] = {
        "jobs": [
            {"id": "j", "tenant": "default", "state": "succeeded", "metadata": {"mark": "m"}, "recordings_total": 1,
             "recordings_done": 1, "recordings_partial": 0, "recordings_failed": 0, "recordings_skipped": 0,
             "recordings_cancelled": 0}
        ],
        "job_recordings": [
            {"id": "l", "tenant": "default", "job_id": "j", "recording_id": "r", "uri": "s3://calls/a",
             "state": "succeeded"}
        ],
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
        "webhook_deliveries": [
            {"id": "d", "tenant": "default", "event_id": "e3", "webhook_id": "w", "job_id": "j", "state": "delivered"}
        ],
        "webhook_attempts": [{"delivery_id": "d", "status_code": 500}, {"delivery_id": "d", "status_code": 204}],
    }  # fmt: skip
    shown = {"recordings": {"total": 1, "succeeded": 1, "partial": 0, "failed": 0}}
    return Snapshot(
        tables,
        {TIMELINE: hashlib.sha256(PCM).hexdigest()},
        [
            Submitted("m", "acknowledged", ["s3://calls/a"], job_id="j", shown=shown),
            Submitted("n", "unknown", ["s3://calls/a"]),
        ],
        {"s3://calls/a": PCM}.get,
        say,
        most_attempts=5,
        collected=True,
        delivered=[("w", "e3")],
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


def test_what_is_left_behind_is_found(snapshot: Snapshot) -> None:
    found = check(replace(snapshot, scratch=["p.1"], foreign_reads=["b saw a's job j"]))
    assert [one.invariant for one in found] == ["I9", "I10"]
