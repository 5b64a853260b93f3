"""Check the work: results, what became of each recording, places, objects, owners and attempts."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable

from chaos.facts import MENDED, POISON, SOUND, Facts, Found, Row, Violation

UPLOAD = "upload://"
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
    "webhook_attempts": {"delivery_id": "webhook_deliveries"},
}  # fmt: skip


def results(facts: Facts) -> Found:
    """I2: one result for each chunk and request that is done, by the pass that closed it, saying what is true."""
    found = Counter((str(r["chunk_id"]), str(r["request_id"])) for r in facts.rows("results"))
    for key, count in found.items():
        if count > 1:
            yield Violation("I2", "doubled", f"chunk and request {key} have {count} results")
    wanted = set()
    for one in _understand_passes(facts):
        if one["state"] == "done":
            wanted |= {(str(one["chunk_id"]), str(request)) for request in one["request_ids"]}
    for key in wanted - set(found):
        yield Violation("I2", "lost", f"chunk and request {key} are done and have no result")
    for key in set(found) - wanted:
        yield Violation("I2", "doubled", f"chunk and request {key} have a result and no done pass")
    for result in facts.rows("results"):
        yield from _one_result(facts, result)


def _one_result(facts: Facts, result: Row) -> Found:
    by, chunk = facts.find("passes", result["pass_id"]), facts.find("chunks", result["chunk_id"])
    request = facts.find("requests", result["request_id"])
    if by is None or chunk is None or request is None:
        yield Violation("I2", "lost", f"result {result['id']} belongs to rows that are gone")
        return
    if by["state"] != "done" or by["epoch"] != result["epoch"]:
        fact = f"result {result['id']} is of epoch {result['epoch']}, its pass ended {by['state']} in {by['epoch']}"
        yield Violation("I2", "doubled", fact)
    if facts.snapshot.says(_heard(facts, chunk), request) != result["raw_text"]:
        yield Violation("I2", "lost", f"result {result['id']} is not what its samples say")


def _understand_passes(facts: Facts) -> list[Row]:
    """Return them in the order in which they were opened."""
    found = [one for one in facts.rows("passes") if one["kind"] == "understand"]
    return sorted(found, key=lambda one: str(one["id"]))


def _heard(facts: Facts, chunk: Row) -> bytes:
    recording = facts.find("recordings", chunk["recording_id"])
    pcm = b"" if recording is None else facts.snapshot.pcm_of(recording["uri"]) or b""
    return pcm[2 * chunk["heard_start"] : 2 * chunk["heard_end"]]


def fates(facts: Facts) -> Found:
    """I2: a chunk fails only where its samples make it, a recording ends as its chunks do, and has what they said."""
    fate = {str(c["id"]): facts.snapshot.fate(_heard(facts, c)) for c in facts.rows("chunks")}
    for one in _understand_passes(facts):
        if one["state"] == "failed" and fate.get(str(one["chunk_id"]), SOUND) == SOUND:
            fact = f"pass {one['id']} failed with {one['error_code']}, and nothing is wrong with its chunk"
            yield Violation("I2", "lost", fact)
    chunks, asked = defaultdict(list), defaultdict(list)
    for chunk in facts.rows("chunks"):
        chunks[str(chunk["recording_id"])].append(str(chunk["id"]))
    for row in facts.rows("job_requests"):
        asked[str(row["job_id"])].append(str(row["request_id"]))
    answered = {(str(r["chunk_id"]), str(r["request_id"])) for r in facts.rows("results")}
    for link in facts.rows("job_recordings"):
        if link["state"] not in ("succeeded", "partial", "failed"):
            continue
        of_it = chunks[str(link["recording_id"])]
        allowed = _ends(facts, link, [fate[chunk_id] for chunk_id in of_it])
        if link["state"] not in allowed:
            fact = f"recording {link['id']} ended {link['state']}, {link['error_code']}: expected {sorted(allowed)}"
            yield Violation("I2", "lost", fact)
        if link["state"] != "failed":
            for chunk_id in of_it:
                missing = [r for r in asked[str(link["job_id"])] if (chunk_id, r) not in answered]
                if missing and (link["state"] == "succeeded" or fate[chunk_id] == SOUND):
                    fact = f"recording {link['id']} is {link['state']}, chunk {chunk_id} has no answer to {missing}"
                    yield Violation("I2", "lost", fact)


def _ends(facts: Facts, link: Row, chunk_fates: list[str]) -> set[str]:
    """Return how a recording may end, by its samples."""
    pcm = facts.snapshot.pcm_of(link["uri"])
    if pcm is None or facts.snapshot.is_broken(pcm):
        return {"failed"}
    count = Counter(chunk_fates)
    worst, best = count[POISON] + count[MENDED], count[POISON]
    most_failed = "failed" if worst == len(chunk_fates) else "partial" if worst else "succeeded"
    least_failed = "failed" if best == len(chunk_fates) else "partial" if best else "succeeded"
    between = (
        {"partial"} if worst - best > 1 or {most_failed, least_failed} == {"failed", "succeeded"} else set()
    )
    return {most_failed, least_failed, *between}


def request_counts(facts: Facts) -> Found:
    """I3: a request's counters on a recording equal its results and its failed chunks."""
    done = Counter((str(r["recording_id"]), str(r["request_id"])) for r in facts.rows("results"))
    answered = {(str(r["chunk_id"]), str(r["request_id"])) for r in facts.rows("results")}
    newest: dict[tuple[str, str], Row] = {}
    for one in _understand_passes(facts):
        newest.update({(str(one["chunk_id"]), str(request)): one for request in one["request_ids"]})
    failed = Counter(
        (str(one["recording_id"]), pair[1])
        for pair, one in newest.items()
        if one["state"] == "failed" and pair not in answered
    )
    for row in facts.rows("recording_requests"):
        key = (str(row["recording_id"]), str(row["request_id"]))
        if row["chunks_done"] != done[key]:
            yield Violation(
                "I3", "doubled", f"request {key} counts {row['chunks_done']} done, {done[key]} results"
            )
        if row["chunks_failed"] != failed[key]:
            yield Violation(
                "I3", "doubled", f"request {key} counts {row['chunks_failed']} failed, {failed[key]} are"
            )
        if row["state"] != "open" and row["chunks_done"] + row["chunks_failed"] < row["chunks_total"]:
            yield Violation("I3", "lost", f"request {key} is {row['state']} before all of it was heard")
        if row["chunks_done"] + row["chunks_failed"] > row["chunks_total"]:
            yield Violation("I3", "doubled", f"request {key} counts more chunks than it has")


def places(facts: Facts) -> Found:
    """I7: chunks tile their recording, and what was stitched says each chunk once and in its order."""
    chunks, by_chunk = defaultdict(list), defaultdict(dict)
    for row in facts.rows("chunks"):
        chunks[str(row["recording_id"]), row["channel"]].append(row)
    for row in facts.rows("results"):
        by_chunk[str(row["recording_id"]), str(row["request_id"])][str(row["chunk_id"])] = row
    for (recording_id, _), found in chunks.items():
        yield from _tiles(facts, recording_id, found)
    told = defaultdict(list)
    for row in facts.rows("annotations"):
        told[str(row["recording_id"]), str(row["request_id"])].append(row)
    for row in facts.rows("recording_requests"):
        key = (str(row["recording_id"]), str(row["request_id"]))
        if row["state"] != "stitched":
            continue
        ordered = sorted(chunks[key[0], 0], key=lambda chunk: chunk["index"])
        wanted = [
            str(by_chunk[key][str(c["id"])]["raw_text"]) for c in ordered if str(c["id"]) in by_chunk[key]
        ]
        said = [str(one["text"]) for one in sorted(told[key], key=lambda one: one["index"])]
        if [text.lower() for text in said] != [text.lower() for text in wanted]:
            yield Violation(
                "I7", "lost", f"request {key} has {len(said)} annotations of {len(wanted)} results"
            )


def _tiles(facts: Facts, recording_id: str, chunks: Iterable[Row]) -> Found:
    recording, end = facts.find("recordings", recording_id), 0
    for chunk in sorted(chunks, key=lambda chunk: chunk["index"]):
        if chunk["owned_start"] != end:
            yield Violation("I7", "lost", f"chunk {chunk['id']} begins at {chunk['owned_start']}, not {end}")
        end = chunk["owned_end"]
    if recording is None or end != recording["duration_samples"]:
        yield Violation("I7", "lost", f"the chunks of recording {recording_id} end at {end}")


def objects(facts: Facts) -> Found:
    """I9: what rows refer to exists and is whole; nothing else is left, no unfinished upload either."""
    referred = set()
    for row in facts.rows("recordings"):
        uri, pcm = row["timeline_uri"], facts.snapshot.pcm_of(row["uri"])
        if uri is None:
            continue
        referred.add(uri)
        if facts.snapshot.objects.get(uri) != row["timeline_sha256"]:
            yield Violation("I9", "lost", f"the timeline of recording {row['id']} is gone or is another one")
        if pcm is None or hashlib.sha256(pcm).hexdigest() != row["timeline_sha256"]:
            yield Violation("I9", "lost", f"the timeline of recording {row['id']} is not its object")
    for row in facts.rows("job_recordings"):
        if row["uri"].startswith(UPLOAD):
            uri = f"{facts.snapshot.uploads_at}{row['tenant']}/{row['uri'].removeprefix(UPLOAD)}"
            referred.add(uri)
            pcm = facts.snapshot.pcm_of(row["uri"]) or b""
            if facts.snapshot.objects.get(uri) != hashlib.sha256(pcm).hexdigest():
                yield Violation("I9", "lost", f"the upload {row['uri']} is gone or is another one")
    if facts.snapshot.collected:
        for uri in set(facts.snapshot.objects) - referred:
            yield Violation("I9", "doubled", f"nothing refers to {uri}")
        for key in facts.snapshot.unfinished:
            yield Violation("I9", "stuck", f"an upload of {key} was never finished, and not swept")
    for folder in facts.snapshot.scratch:
        yield Violation("I9", "stuck", f"the private folder {folder} is left")


def owners(facts: Facts) -> Found:
    """I9, I10: what a row belongs to is there, and of the same tenant; no read showed another tenant's."""
    for table, columns in OWNERS.items():
        for row in facts.rows(table):
            for column, owner in columns.items():
                if row.get(column) is None:
                    continue
                above = facts.find(owner, row[column])
                if above is None:
                    yield Violation("I9", "lost", f"a row of {table} belongs to one of {owner} that is gone")
                elif above["tenant"] != row["tenant"]:
                    yield Violation(
                        "I10", "lost", f"a row of {table} is of {row['tenant']}, its {owner} is not"
                    )
    for fact in facts.snapshot.foreign_reads:
        yield Violation("I10", "lost", fact)


def attempts(facts: Facts) -> Found:
    """I11: every attempt has its reason, and nothing is tried without end."""
    for row in facts.rows("passes"):
        if row["attempts"] > facts.snapshot.most_attempts:
            yield Violation("I11", "stuck", f"pass {row['id']} was tried {row['attempts']} times")
        explained = row["errors"] + row["crashes"] + int(row["state"] == "done")
        # A page that was stored forgives what went wrong before it.
        is_explained = row["attempts"] == explained or (
            row["kind"] == "expand" and row["attempts"] > explained
        )
        if row["state"] in ("done", "failed") and not is_explained:
            fact = f"{row['kind']} pass {row['id']} had {row['attempts']} attempts, {explained} have a reason"
            yield Violation("I11", "doubled", fact)
        if row["epoch"] < row["attempts"]:
            yield Violation("I11", "doubled", f"pass {row['id']} has fewer epochs than attempts")
