"""Check jobs: that they exist once, add up, come to rest, end once, stay cancelled, and are gone once deleted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from chaos.facts import Facts, Found, Row, Submitted, Violation

FINAL_JOBS = {"succeeded", "partial", "failed", "cancelled"}
FINAL_LINKS = {"succeeded", "partial", "failed", "cancelled", "skipped"}
FINAL_PASSES = {"done", "failed", "cancelled"}
FINAL_DELIVERIES = {"delivered", "failed", "cancelled"}
OF_JOBS = (
    "job_recordings",
    "job_requests",
    "job_sources",
    "passes",
    "webhook_deliveries",
    "idempotency_keys",
)


def submits(facts: Facts) -> Found:
    """I1: what was acknowledged exists once until it is deleted, what is unknown at most once, what is refused not."""
    marked = defaultdict(list)
    for job in facts.rows("jobs"):
        if facts.origin(str(job["id"]))[0] == "submit":
            marked[(job["metadata"] or {}).get("mark")].append(str(job["id"]))
    for sent in facts.snapshot.submitted:
        if sent.kind == "submit" and len(marked[sent.mark]) > 1:
            yield Violation("I1", "doubled", f"submission {sent.mark} became {len(marked[sent.mark])} jobs")
        if sent.outcome == "acknowledged":
            yield from _acknowledged(facts, sent)
    for mark in set(marked) - {sent.mark for sent in facts.snapshot.submitted}:
        yield Violation("I1", "doubled", f"nobody asked for job {marked[mark][0]}")
    yield from _derived(facts)


def _acknowledged(facts: Facts, sent: Submitted) -> Found:
    assert sent.job_id is not None
    if sent.again not in (None, sent.job_id):
        yield Violation("I1", "doubled", f"submission {sent.mark} sent again became job {sent.again}")
    job = facts.find("jobs", sent.job_id)
    if job is None:
        gone = any(event["kind"] == "job.deleted" for event in facts.events.get(sent.job_id, ()))
        if sent.deleted == "no" or not gone:
            yield Violation("I1", "lost", f"submission {sent.mark} was acknowledged and is gone")
    elif facts.origin(sent.job_id) != (sent.kind, sent.of):
        yield Violation("I1", "doubled", f"job {sent.job_id} is no {sent.kind} of {sent.of}")
    elif sent.kind != "submit":
        yield from _sources_of_derived(facts, sent)
    elif (job["metadata"] or {}).get("mark") != sent.mark:
        yield Violation("I1", "lost", f"job {sent.job_id} is not submission {sent.mark}")
    else:
        yield from _sources_as_sent(facts, sent, is_cancelled=job["state"] == "cancelled")


def _sources_as_sent(facts: Facts, sent: Submitted, *, is_cancelled: bool) -> Found:
    """A job has what was sent, and what its listings name besides, each once; a cancel may cut a listing short."""
    assert sent.job_id is not None
    found, least = Counter(row["uri"] for row in facts.links(sent.job_id)), Counter(sent.uris)
    named = {uri for listing in sent.listings for uri in facts.snapshot.listed(listing)}
    most = least + Counter(named - set(least))
    if not (least if is_cancelled else most) <= found <= most:
        yield Violation("I1", "lost", f"job {sent.job_id} has other sources than were sent")
    if len(_listings(facts, sent.job_id)) != len(sent.listings):
        yield Violation("I1", "lost", f"job {sent.job_id} has other listings than were sent")


def _listings(facts: Facts, job_id: str) -> list[Row]:
    return [row for row in facts.rows("job_sources") if str(row["job_id"]) == job_id]


def _derived(facts: Facts) -> Found:
    """What is made of a job exists as often as it was asked for; the events tell of deleted ones too."""
    made = Counter(origin for job_id in facts.events if (origin := facts.origin(job_id))[1] is not None)
    asked: dict[tuple[str, str | None], Counter[str]] = defaultdict(Counter)
    for sent in facts.snapshot.submitted:
        if sent.kind != "submit":
            asked[sent.kind, sent.of][sent.outcome] += 1
    for origin in {*made, *asked}:
        sure, perhaps = asked[origin]["acknowledged"], asked[origin]["unknown"]
        if made[origin] < sure:
            yield Violation("I1", "lost", f"{origin} was acknowledged {sure} times, there are {made[origin]}")
        if made[origin] > sure + perhaps:
            yield Violation(
                "I1", "doubled", f"{origin} was asked {sure + perhaps} times, there are {made[origin]}"
            )


def _sources_of_derived(facts: Facts, sent: Submitted) -> Found:
    """A retry takes what failed and asks the same; more tasks are asked of all that had not failed by then."""
    assert sent.job_id is not None
    parent = facts.find("jobs", sent.of)
    if parent is None:
        return  # deleted since: nobody can say any more what it should have been
    links = facts.links(str(parent["id"]))
    found = Counter(row["uri"] for row in facts.links(sent.job_id))
    least = Counter(row["uri"] for row in links if row["state"] in ("succeeded", "partial", "skipped"))
    most = Counter(row["uri"] for row in links)
    if sent.kind == "retry":
        wanted = {"failed", "cancelled"} if parent["state"] == "cancelled" else {"failed"}
        least = Counter(
            row["uri"]
            for row in links
            if row["state"] in wanted or (row["state"] == "partial" and row["error_code"] == "chunks_failed")
        )
        cut_off = {
            uri
            for row in _listings(facts, str(parent["id"]))
            if row["state"] == "cancelled"
            for uri in facts.snapshot.listed(row["uri"])
        }
        most = least + Counter(cut_off - set(least))
        if facts.by_id["jobs"][sent.job_id]["state"] != "cancelled":
            least = least + Counter(cut_off - {row["uri"] for row in links})
        if _asked(facts, sent.job_id) != _asked(facts, str(parent["id"])):
            yield Violation("I1", "lost", f"the retry {sent.job_id} asks something else than {sent.of}")
    if not least <= found <= most:
        yield Violation("I1", "lost", f"job {sent.job_id}, a {sent.kind} of {sent.of}, has other sources")


def _asked(facts: Facts, job_id: str) -> set[str]:
    return {str(row["request_id"]) for row in facts.rows("job_requests") if str(row["job_id"]) == job_id}


def counts(facts: Facts) -> Found:
    """I3: the counters of jobs equal rows, and what REST shows."""
    states: Mapping[str, list[str]] = defaultdict(list)
    for row in facts.rows("job_recordings"):
        states[str(row["job_id"])].append(row["state"])
    shown = {sent.job_id: sent.shown for sent in facts.snapshot.submitted if sent.shown is not None}
    for job in facts.rows("jobs"):
        yield from _counts_of(job, Counter(states[str(job["id"])]), shown.get(str(job["id"])))


def _counts_of(job: Row, states: Counter[str], shown: Row | None) -> Found:
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
        yield Violation("I3", "lost", f"job {job['id']} is {job['state']} and does not add up: {counted}")
    if shown is not None and any(
        shown["recordings"].get(name, counted[name]) != counted[name] for name in counted
    ):
        yield Violation(
            "I3", "lost", f"job {job['id']}: REST shows {shown['recordings']}, rows say {counted}"
        )


def at_rest(facts: Facts) -> Found:
    """I4: nothing is open, nothing is leased, no listing failed, and what was to be deleted is gone."""
    for table, final in (("jobs", FINAL_JOBS), ("job_recordings", FINAL_LINKS), ("passes", FINAL_PASSES)):
        for row in facts.rows(table):
            if row["state"] not in final:
                more = f", {row['kind']} {row['attempts']} attempts" if table == "passes" else ""
                yield Violation("I4", "stuck", f"{table} {row['id']} is {row['state']}{more}")
    for row in facts.rows("job_sources"):
        if row["state"] == "expanding":
            yield Violation("I4", "stuck", f"source {row['id']} still expands")
        if row["state"] == "failed":
            fact = (
                f"the listing of {row['uri']} failed with {row['error_code']}, and nothing is wrong with it"
            )
            yield Violation("I4", "lost", fact)
    for row in facts.rows("webhook_deliveries"):
        if row["state"] not in FINAL_DELIVERIES:
            yield Violation("I4", "stuck", f"delivery {row['id']} is {row['state']}")
    for row in facts.rows("idempotency_keys"):
        if row["status"] is None:
            yield Violation("I4", "stuck", f"idempotency key {row['key']} waits for an answer")
    for sent in facts.snapshot.submitted:
        if sent.deleted == "acknowledged" and facts.find("jobs", sent.job_id) is not None:
            yield Violation("I4", "stuck", f"job {sent.job_id} was deleted and is still there")


def history(facts: Facts) -> Found:
    """I5: a history has one beginning and one end, each recording one end; behind a deletion comes nothing."""
    ended = {sent.job_id: sent.ended for sent in facts.snapshot.submitted if sent.ended is not None}
    for job_id in {*facts.events, *facts.by_id.get("jobs", ())}:
        events, job = facts.events.get(job_id, []), facts.find("jobs", job_id)
        kinds = Counter(event["kind"] for event in events)
        ends = [kind for kind in kinds.elements() if kind.removeprefix("job.") in FINAL_JOBS]
        if kinds["job.accepted"] != 1:
            yield Violation("I5", "doubled", f"job {job_id} was accepted {kinds['job.accepted']} times")
        if job is not None and job["state"] in FINAL_JOBS and ends != [f"job.{job['state']}"]:
            yield Violation("I5", "doubled", f"job {job_id} is {job['state']}, its history ends {ends}")
        if job is None and len(ends) != 1:
            yield Violation("I5", "doubled", f"job {job_id} is gone, its history ends {ends}")
        if ended.get(job_id) is not None and ends != [f"job.{ended[job_id]}"]:
            yield Violation(
                "I5", "doubled", f"job {job_id} was seen {ended[job_id]}, its history ends {ends}"
            )
        yield from _closed_once(job_id, events)
        yield from _deletion(facts, job_id, job, events)


def _closed_once(job_id: str, events: Sequence[Row]) -> Found:
    closed = Counter(
        str(event["job_recording_id"])
        for event in events
        if event["kind"].removeprefix("recording.") in FINAL_LINKS
    )
    for link, times in closed.items():
        if times > 1:
            yield Violation("I5", "doubled", f"recording {link} of job {job_id} ended {times} times")


def _deletion(facts: Facts, job_id: str, job: Row | None, events: Sequence[Row]) -> Found:
    places = [place for place, event in enumerate(events) if event["kind"] == "job.deleted"]
    if not places:
        if job is None:
            yield Violation("I5", "lost", f"job {job_id} is gone, and nothing says that it was deleted")
        return
    if len(places) > 1 or places[0] != len(events) - 1:
        after = [event["kind"] for event in events[places[0] + 1 :]]
        yield Violation("I5", "doubled", f"job {job_id} was deleted, and then came {after}")
    if job is not None:
        yield Violation("I5", "doubled", f"job {job_id} is there, and its history says that it was deleted")
    if not any(one.job_id == job_id and one.deleted != "no" for one in facts.snapshot.submitted):
        yield Violation("I5", "lost", f"job {job_id} was deleted, and nobody asked for that")


def leftovers(facts: Facts) -> Found:
    """I9: of a deleted job nothing is left but its events, of a recording that nobody links to nothing at all."""
    for table in OF_JOBS:
        for row in facts.rows(table):
            if row.get("job_id") is not None and facts.find("jobs", row["job_id"]) is None:
                yield Violation(
                    "I9", "doubled", f"a row of {table} is left of job {row['job_id']}, which is gone"
                )
    linked = {str(row["recording_id"]) for row in facts.rows("job_recordings")}
    for recording in facts.rows("recordings"):
        if str(recording["id"]) not in linked:
            yield Violation("I9", "doubled", f"recording {recording['id']} is there, and no job links to it")


def cancels(facts: Facts) -> Found:
    """I6: what was cancelled in time stays cancelled, and nothing of it succeeds afterwards."""
    for sent in facts.snapshot.submitted:
        if not sent.cancelled or sent.job_id is None:
            continue
        events = facts.events.get(sent.job_id, [])
        ends = [event for event in events if event["kind"].removeprefix("job.") in FINAL_JOBS]
        job = facts.find("jobs", sent.job_id)
        state = ends[0]["kind"].removeprefix("job.") if job is None and ends else job and job["state"]
        if state != "cancelled":
            yield Violation("I6", "lost", f"the cancel of job {sent.job_id} was acknowledged, it is {state}")
        said = [event for event in events if event["kind"] == "job.cancelled"]
        if any(
            said and event["at"] > said[0]["at"] and event["kind"] in ("recording.succeeded", "job.succeeded")
            for event in events
        ):
            yield Violation("I6", "doubled", f"job {sent.job_id} succeeded after it was cancelled")
