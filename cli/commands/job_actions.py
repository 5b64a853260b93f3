"""Cancel, retry and delete jobs, and ask more about what they heard; a client of the API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.asking import FORM, parse_task
from cli.client import Json
from cli.commands.jobs import Api, AsJson, an_id, open_client, where_to_look
from cli.tables import jobs_table
from cli.terminal import out, print_json, say
from cli.watching import teller, wait_for

JobId = Annotated[str, typer.Argument(help="The id of a job.", callback=an_id)]
Wait = Annotated[bool, typer.Option("--wait", help="Show progress until the new job is done.")]


def cancel(job_id: JobId, as_json: AsJson = False, api: Api = None) -> None:
    """Cancel a job: nothing is added for it any more. What other jobs wait for goes on as theirs."""
    with open_client(api) as client:
        job = client.post(f"/v1/jobs/{job_id}/cancel")
    print_json(job) if as_json else out.print(jobs_table([job]))


def retry(
    job_id: JobId,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Also what a cancel cut off, recordings and listings.")
    ] = False,
    wait: Wait = False,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Try again what failed of a job, as a new job. With --wait, exit code 1 unless that succeeds."""
    _new_job(f"/v1/jobs/{job_id}/retry", {"cancelled": cancelled}, wait, as_json, api)


def extend(
    job_id: JobId,
    task: Annotated[list[str], typer.Option(help=f"What else to find out: {FORM}. May be repeated.")],
    wait: Wait = False,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Ask more about the recordings of a job, as a new job; only what was never answered runs."""
    body = {"tasks": [parse_task(text) for text in task]}
    _new_job(f"/v1/jobs/{job_id}/tasks", body, wait, as_json, api)


def delete(job_id: JobId, api: Api = None) -> None:
    """Delete a job, with all that no other job links to: rows, timelines, uploads. It is cancelled if it still runs."""
    with open_client(api) as client:
        client.delete(f"/v1/jobs/{job_id}")
    say(f"job {job_id} is being deleted")


def _new_job(path: str, body: dict[str, Any], wait: bool, as_json: bool, api: str | None) -> None:
    with open_client(api) as client:
        job: Json = client.post_once(path, body)
        tell = teller()
        tell(job)
        if wait:
            job = wait_for(client, job, tell)
    if as_json:
        print_json(job)
    else:
        out.print(job["id"], highlight=False)
        say(where_to_look(job, wait))
    if wait and job["state"] != "succeeded":
        raise typer.Exit(1)
