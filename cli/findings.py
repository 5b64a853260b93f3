"""Read what was found: of a job what it asked for, of a recording all that any job asked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cli.client import ApiClient, Json
from cli.errors import ApiProblem
from cli.terminal import say
from cli.watching import FINAL_STATES


def read_findings(client: ApiClient, some_id: str) -> list[dict[str, Any]]:
    """Return the recordings of a job, or the one that the id names, each with what was found on it."""
    found, asked = _recordings(client, some_id)
    return [_findings(client, recording, asked) for recording in found]


def _recordings(client: ApiClient, some_id: str) -> tuple[list[Json], list[str] | None]:
    """Return the recordings of a job and the ids of its requests; or the one that the id names, and None."""
    try:
        job = client.get(f"/v1/jobs/{some_id}")
    except ApiProblem as problem:
        if problem.status != 404:
            raise
        return [client.get(f"/v1/recordings/{some_id}")], None
    if job["state"] not in FINAL_STATES:
        say(f"the job is {job['state']}: more may follow")
    rows = client.pages(f"/v1/jobs/{some_id}/recordings", limit=200)
    return [_with_error(row) for row in rows], [request["id"] for request in job["requests"]]


def _with_error(row: Json) -> Json:
    recording = row["recording"] or {"id": None, "uri": row["uri"], "error": None}
    more = {"metadata": row.get("metadata", {}), "uri": row["uri"]}  # a copy may share another's recording
    return {**recording, **more, "error": recording["error"] or row["error"]}


def _findings(client: ApiClient, recording: Json, asked: list[str] | None) -> dict[str, Any]:
    """Add what these requests found, or with None whatever was found, by one call for each page of a list."""
    path = f"/v1/recordings/{recording['id']}"
    query = {"request": asked[0]} if asked is not None and len(asked) == 1 else {}

    def chosen(rows: Iterable[Json]) -> list[Json]:
        return [row for row in rows if asked is None or row["request_id"] in asked]

    known = recording["id"] is not None
    return {
        **recording,
        "segments": chosen(client.pages(f"{path}/segments", limit=1000, **query)) if known else [],
        "summaries": chosen(client.get(f"{path}/summaries")["items"]) if known else [],
        "annotations": chosen(client.pages(f"{path}/annotations", limit=1000, **query)) if known else [],
    }
