"""Compare what a run left behind with what its clients were told: the invariants I1 to I11, as one pure function.

Nothing here asks a database or a storage: a ``Snapshot`` goes in, the broken promises come out. Run it on a service at
rest: no work open, all processes alive again or stopped.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

FINAL_JOBS = {"succeeded", "partial", "failed", "cancelled"}
FINAL_LINKS = {"succeeded", "partial", "failed", "cancelled", "skipped"}
FINAL_PASSES = {"done", "failed", "cancelled"}
FINAL_DELIVERIES = {"delivered", "failed", "cancelled"}
OWNERS = {  # table -> column -> the table whose row it belongs to
    "job_recordings": {"job_id": "jobs", "recording_id": "recordings", "source_id": "job_sources"},
    "job_requests": {"job_id": "jobs", "request_id": "requests"},
    "job_sources": {"job_id": "jobs"},
    "recording_requests": {"recording_id": "recordings", "request_id": "requests"},
    "chunks": {"recording_id": "recordings"},
    "passes": {"job_id": "jobs", "recording_id": "recordings", "chunk_id": "chunks"},
    "results": {"recording_id": "recordings", "chunk_id": "chunks", "request_id": "requests", "pass_id": "passes"},
    "segments": {"recording_id": "recordings", "request_id": "requests"},
    "annotations": {"recording_id": "recordings", "request_id": "requests"},
    "summaries": {"recording_id": "recordings", "request_id": "requests"},
    "webhook_deliveries": {"webhook_id": "webhooks", "job_id": "jobs"},
}  # fmt: skip


@dataclass(frozen=True)
class Submitted:
    """One submission as its client saw it: ``outcome`` is acknowledged, or unknown when no clear answer came."""

    mark: str  # stands in the job's metadata as ``mark``
    outcome: str
    uris: Sequence[str]
    tenant: str = "default"
    job_id: str | None = None
    again: str | None = None  # the job that was named when the same was sent again under the same key
    cancelled: bool = False  # a cancel of it was acknowledged before it had ended
    shown: Row | None = None  # the job as REST shows it in the end


@dataclass(frozen=True)
class Snapshot:
    """A service at rest: all rows by table, all objects, what the clients saw, and what should have been heard."""

    tables: Mapping[str, Sequence[Row]]
    objects: Mapping[str, str]  # URI -> sha256 of every object of ours
    submitted: Sequence[Submitted]
    pcm_of: Callable[[str], bytes | None]  # the samples of a source, None where there is no such object
    says: Callable[[bytes, Row], str]  # what the engine says of samples, asked a row of ``requests``
    most_attempts: int
    scratch: Sequence[str] = ()  # private folders that are still there
    collected: bool = False  # whether objects that nobody refers to were swept
    delivered: Sequence[tuple[str, str]] = ()  # (webhook id, event id) that a receiver acknowledged
    foreign_reads: Sequence[str] = ()  # answers that showed one tenant what is another's


@dataclass(frozen=True)
class Violation:
    """A promise that was broken: which, and whether something was lost, doubled or got stuck."""

    invariant: str
    kind: str  # lost, doubled, stuck
    fact: str


@dataclass
class _Facts:
    """The rows of a snapshot by their ids."""

    snapshot: Snapshot
    by_id: dict[str, dict[str, Row]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, rows in self.snapshot.tables.items():
            if rows and "id" in rows[0]:
                self.by_id[name] = {str(row["id"]): row for row in rows}

    def rows(self, table: str) -> Sequence[Row]:
        return self.snapshot.tables.get(table, ())

    def find(self, table: str, some_id: object) -> Row | None:
        return self.by_id.get(table, {}).get(str(some_id))


Found = Iterator[Violation]


def check(snapshot: Snapshot) -> list[Violation]:
    """Return every broken invariant; an empty list is what was promised."""
    facts = _Facts(snapshot)
    return [violation for rule in _RULES for violation in rule(facts)]


def _submits(facts: _Facts) -> Found:
    """I1: what was acknowledged exists once, what is unknown at most once."""
    jobs = defaultdict(list)
    for job in facts.rows("jobs"):
        jobs[(job["metadata"] or {}).get("mark")].append(job)
    for sent in facts.snapshot.submitted:
        found = jobs[sent.mark]
        if len(found) > 1:
            yield Violation("I1", "doubled", f"submission {sent.mark} became {len(found)} jobs")
        if sent.outcome != "acknowledged":
            continue
        if sent.again not in (None, sent.job_id):
            yield Violation("I1", "doubled", f"submission {sent.mark} sent again became job {sent.again}")
        if not found:
            yield Violation("I1", "lost", f"submission {sent.mark} was acknowledged and is gone")
        elif str(found[0]["id"]) != sent.job_id:
            yield Violation(
                "I1", "doubled", f"submission {sent.mark} is job {found[0]['id']}, not {sent.job_id}"
            )
        else:
            links = [row for row in facts.rows("job_recordings") if str(row["job_id"]) == sent.job_id]
            if Counter(row["uri"] for row in links) != Counter(sent.uris):
                yield Violation("I1", "lost", f"job {sent.job_id} has other sources than were sent")


def _results(facts: _Facts) -> Found:
    """I2: one result for each chunk and request that is done, by the pass that closed it, saying what is true."""
    results = Counter((str(r["chunk_id"]), str(r["request_id"])) for r in facts.rows("results"))
    for key, count in results.items():
        if count > 1:
            yield Violation("I2", "doubled", f"chunk and request {key} have {count} results")
    wanted = set()
    for one in facts.rows("passes"):
        if one["kind"] == "understand" and one["state"] == "done":
            wanted |= {(str(one["chunk_id"]), str(request)) for request in one["request_ids"]}
    for key in wanted - set(results):
        yield Violation("I2", "lost", f"chunk and request {key} are done and have no result")
    for key in set(results) - wanted:
        yield Violation("I2", "doubled", f"chunk and request {key} have a result and no done pass")
    for result in facts.rows("results"):
        yield from _one_result(facts, result)


def _one_result(facts: _Facts, result: Row) -> Found:
    by, chunk = facts.find("passes", result["pass_id"]), facts.find("chunks", result["chunk_id"])
    request = facts.find("requests", result["request_id"])
    recording = facts.find("recordings", result["recording_id"])
    if by is None or chunk is None or request is None or recording is None:
        yield Violation("I2", "lost", f"result {result['id']} belongs to rows that are gone")
        return
    if by["state"] != "done" or by["epoch"] != result["epoch"]:
        fact = f"result {result['id']} is of epoch {result['epoch']}, its pass ended {by['state']} in {by['epoch']}"
        yield Violation("I2", "doubled", fact)
    pcm = facts.snapshot.pcm_of(recording["uri"]) or b""
    heard = pcm[2 * chunk["heard_start"] : 2 * chunk["heard_end"]]
    if facts.snapshot.says(heard, request) != result["raw_text"]:
        yield Violation("I2", "lost", f"result {result['id']} is not what its samples say")


def _counts(facts: _Facts) -> Found:
    """I3: counters equal rows, in the job, in its requests, and in REST."""
    links = defaultdict(list)
    for row in facts.rows("job_recordings"):
        links[str(row["job_id"])].append(row["state"])
    shown = {sent.job_id: sent.shown for sent in facts.snapshot.submitted if sent.shown is not None}
    for job in facts.rows("jobs"):
        states = Counter(links[str(job["id"])])
        counted = {
            "total": job["recordings_total"],
            "succeeded": job["recordings_done"] - job["recordings_partial"],
            "partial": job["recordings_partial"],
            "failed": job["recordings_failed"],
            "skipped": job["recordings_skipped"],
            "cancelled": job["recordings_cancelled"],
        }
        rows = {"total": states.total(), **{name: states[name] for name in list(counted)[1:]}}
        if counted != rows:
            yield Violation("I3", "lost", f"job {job['id']} counts {counted}, its rows are {rows}")
        if job["state"] in FINAL_JOBS and sum(list(counted.values())[1:]) != counted["total"]:
            yield Violation(
                "I3", "lost", f"job {job['id']} is {job['state']}, its counts do not add up: {counted}"
            )
        answer = shown.get(str(job["id"]))
        if answer is not None and any(
            answer["recordings"].get(name, counted[name]) != counted[name] for name in counted
        ):
            yield Violation(
                "I3", "lost", f"job {job['id']}: REST shows {answer['recordings']}, rows say {counted}"
            )
    yield from _request_counts(facts)


def _request_counts(facts: _Facts) -> Found:
    done = Counter((str(r["recording_id"]), str(r["request_id"])) for r in facts.rows("results"))
    failed: Counter[tuple[str, str]] = Counter()
    for one in facts.rows("passes"):
        if one["kind"] == "understand" and one["state"] == "failed":
            failed.update((str(one["recording_id"]), str(request)) for request in one["request_ids"])
    for row in facts.rows("recording_requests"):
        key = (str(row["recording_id"]), str(row["request_id"]))
        if row["chunks_done"] != done[key]:
            yield Violation(
                "I3", "doubled", f"request {key} counts {row['chunks_done']} done, {done[key]} results"
            )
        if row["state"] != "open" and row["chunks_done"] + row["chunks_failed"] < row["chunks_total"]:
            yield Violation("I3", "lost", f"request {key} is {row['state']} before all of it was heard")
        if row["chunks_done"] + row["chunks_failed"] > row["chunks_total"]:
            yield Violation("I3", "doubled", f"request {key} counts more chunks than it has")


def _at_rest(facts: _Facts) -> Found:
    """I4: nothing is open, nothing is leased."""
    for table, final in (("jobs", FINAL_JOBS), ("job_recordings", FINAL_LINKS), ("passes", FINAL_PASSES)):
        for row in facts.rows(table):
            if row["state"] not in final:
                more = f", {row['kind']} {row['attempts']} attempts" if table == "passes" else ""
                yield Violation("I4", "stuck", f"{table} {row['id']} is {row['state']}{more}")
    for row in facts.rows("job_sources"):
        if row["state"] == "expanding":
            yield Violation("I4", "stuck", f"source {row['id']} still expands")
    for row in facts.rows("webhook_deliveries"):
        if row["state"] not in FINAL_DELIVERIES:
            yield Violation("I4", "stuck", f"delivery {row['id']} is {row['state']}")
    for row in facts.rows("idempotency_keys"):
        if row["status"] is None:
            yield Violation("I4", "stuck", f"idempotency key {row['key']} waits for an answer")


def _history(facts: _Facts) -> Found:
    """I5: the history has one beginning and one end for each job, and one end for each of its recordings."""
    events = defaultdict(list)
    for event in sorted(facts.rows("events"), key=lambda event: (event["at"], str(event["id"]))):
        events[str(event["job_id"])].append(event)
    for job in facts.rows("jobs"):
        kinds = Counter(event["kind"] for event in events[str(job["id"])])
        ends = Counter({kind: n for kind, n in kinds.items() if kind.removeprefix("job.") in FINAL_JOBS})
        if kinds["job.accepted"] != 1:
            yield Violation("I5", "doubled", f"job {job['id']} was accepted {kinds['job.accepted']} times")
        if job["state"] in FINAL_JOBS and ends != Counter([f"job.{job['state']}"]):
            yield Violation(
                "I5", "doubled", f"job {job['id']} is {job['state']}, its history ends {dict(ends)}"
            )
        closed = Counter(
            str(event["job_recording_id"])
            for event in events[str(job["id"])]
            if event["kind"].removeprefix("recording.") in FINAL_LINKS
        )
        for link, times in closed.items():
            if times > 1:
                yield Violation("I5", "doubled", f"recording {link} of job {job['id']} ended {times} times")


def _cancels(facts: _Facts) -> Found:
    """I6: what was cancelled in time stays cancelled, and nothing of it succeeds afterwards."""
    ended = defaultdict(list)
    for event in facts.rows("events"):
        ended[str(event["job_id"])].append(event)
    for sent in facts.snapshot.submitted:
        if not sent.cancelled or (job := facts.find("jobs", sent.job_id)) is None:
            continue
        if job["state"] != "cancelled":
            yield Violation(
                "I6", "lost", f"the cancel of job {job['id']} was acknowledged, it is {job['state']}"
            )
        said = [event for event in ended[str(job["id"])] if event["kind"] == "job.cancelled"]
        after = [
            event
            for event in ended[str(job["id"])]
            if said
            and event["at"] > said[0]["at"]
            and event["kind"] in ("recording.succeeded", "job.succeeded")
        ]
        if after:
            yield Violation("I6", "doubled", f"job {job['id']} succeeded after it was cancelled")


def _places(facts: _Facts) -> Found:
    """I7: chunks tile their recording, and what was stitched says each chunk once and in its order."""
    chunks, results = defaultdict(list), defaultdict(dict)
    for row in facts.rows("chunks"):
        chunks[str(row["recording_id"]), row["channel"]].append(row)
    for row in facts.rows("results"):
        results[str(row["recording_id"]), str(row["request_id"])][str(row["chunk_id"])] = row
    for (recording_id, _), found in chunks.items():
        recording, end = facts.find("recordings", recording_id), 0
        for chunk in sorted(found, key=lambda chunk: chunk["index"]):
            if chunk["owned_start"] != end:
                yield Violation(
                    "I7", "lost", f"chunk {chunk['id']} begins at {chunk['owned_start']}, not {end}"
                )
            end = chunk["owned_end"]
        if recording is None or end != recording["duration_samples"]:
            yield Violation("I7", "lost", f"the chunks of recording {recording_id} end at {end}")
    told = defaultdict(list)
    for row in facts.rows("annotations"):
        told[str(row["recording_id"]), str(row["request_id"])].append(row)
    for row in facts.rows("recording_requests"):
        key = (str(row["recording_id"]), str(row["request_id"]))
        if row["state"] != "stitched" or row["chunks_failed"]:
            continue
        ordered = sorted(chunks[key[0], 0], key=lambda chunk: chunk["index"])
        wanted = [
            str(results[key][str(c["id"])]["raw_text"]) for c in ordered if str(c["id"]) in results[key]
        ]
        found = [str(one["text"]) for one in sorted(told[key], key=lambda one: one["index"])]
        if [text.lower() for text in found] != [text.lower() for text in wanted]:
            yield Violation(
                "I7", "lost", f"request {key} has {len(found)} annotations of {len(wanted)} results"
            )


def _deliveries(facts: _Facts) -> Found:
    """I8: each event reaches each webhook that wants it, and is recorded as delivered once."""
    once = Counter((str(r["event_id"]), str(r["webhook_id"])) for r in facts.rows("webhook_deliveries"))
    for key, times in once.items():
        if times > 1:
            yield Violation("I8", "doubled", f"event and webhook {key} have {times} deliveries")
    taken = set(facts.snapshot.delivered)
    successes: Counter[str] = Counter()
    for attempt in facts.rows("webhook_attempts"):
        successes[str(attempt["delivery_id"])] += int(200 <= (attempt["status_code"] or 0) < 300)
    for row in facts.rows("webhook_deliveries"):
        if row["state"] == "delivered" and (str(row["webhook_id"]), str(row["event_id"])) not in taken:
            yield Violation("I8", "lost", f"delivery {row['id']} is recorded, and nobody received it")
        if successes[str(row["id"])] > 1:
            yield Violation(
                "I8", "doubled", f"delivery {row['id']} records {successes[str(row['id'])]} successes"
            )


def _objects(facts: _Facts) -> Found:
    """I9: what rows refer to exists and is whole; nothing else is left."""
    referred = set()
    for row in facts.rows("recordings"):
        uri = row["timeline_uri"]
        if uri is None:
            continue
        referred.add(uri)
        if facts.snapshot.objects.get(uri) != row["timeline_sha256"]:
            yield Violation("I9", "lost", f"the timeline of recording {row['id']} is gone or is another one")
        pcm = facts.snapshot.pcm_of(row["uri"])
        if pcm is None or hashlib.sha256(pcm).hexdigest() != row["timeline_sha256"]:
            yield Violation("I9", "lost", f"the timeline of recording {row['id']} is not its object")
    if facts.snapshot.collected:
        for uri in set(facts.snapshot.objects) - referred:
            yield Violation("I9", "doubled", f"nothing refers to {uri}")
    for folder in facts.snapshot.scratch:
        yield Violation("I9", "stuck", f"the private folder {folder} is left")


def _tenants(facts: _Facts) -> Found:
    """I10: every row is of the tenant of what it belongs to, and no read showed another tenant's."""
    for table, columns in OWNERS.items():
        for row in facts.rows(table):
            for column, owner in columns.items():
                above = facts.find(owner, row[column]) if row.get(column) is not None else None
                if above is not None and above["tenant"] != row["tenant"]:
                    yield Violation(
                        "I10", "lost", f"a row of {table} is of {row['tenant']}, its {owner} is not"
                    )
    for fact in facts.snapshot.foreign_reads:
        yield Violation("I10", "lost", fact)


def _attempts(facts: _Facts) -> Found:
    """I11: every attempt has its reason, and nothing is tried without end."""
    for row in facts.rows("passes"):
        if row["attempts"] > facts.snapshot.most_attempts:
            yield Violation("I11", "stuck", f"pass {row['id']} was tried {row['attempts']} times")
        explained = row["errors"] + row["crashes"] + int(row["state"] == "done")
        if row["state"] in ("done", "failed") and row["attempts"] != explained:
            fact = f"{row['kind']} pass {row['id']} had {row['attempts']} attempts, {explained} have a reason"
            yield Violation("I11", "doubled", fact)
        if row["epoch"] < row["attempts"]:
            yield Violation("I11", "doubled", f"pass {row['id']} has fewer epochs than attempts")


_RULES: Sequence[Callable[[_Facts], Found]] = (
    _submits, _results, _counts, _at_rest, _history, _cancels, _places, _deliveries, _objects, _tenants, _attempts,
)  # fmt: skip


def tally(violations: Iterable[Violation]) -> dict[str, int]:
    """Count what was lost, doubled and stuck."""
    counts = Counter(violation.kind for violation in violations)
    return {kind: counts[kind] for kind in ("lost", "doubled", "stuck")}
