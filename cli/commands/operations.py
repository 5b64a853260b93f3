"""Look at the service as an operator: jobs, failures, workers, the queue; a client of the API."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from cli.client import ApiClient
from cli.commands.jobs import Api, AsJson, an_id, api_url, open_client, print_jobs
from cli.operation_tables import failures_table, queue_table, workers_table
from cli.terminal import out, print_json, say
from settings import load_settings

Limit = Annotated[int, typer.Option(help="How many to list, at most.", min=1, max=100_000)]


def jobs(
    state: Annotated[
        str | None, typer.Option(help="Only jobs in this state, such as running or partial.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """List jobs, the newest first."""
    query = {} if state is None else {"state": state}
    with open_client(api) as client:
        found = list(islice(client.pages("/v1/jobs", limit=min(limit, 200), **query), limit))
    print_jobs(found, as_json)


def failures(
    job_id: Annotated[
        str | None, typer.Argument(help="A job; without it, all of them.", callback=an_id)
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """List what failed or is incomplete, the newest first: why, whether a retry helps, what to do."""
    path = "/v1/failures" if job_id is None else f"/v1/jobs/{job_id}/failures"
    with open_client(api) as client:
        found = list(islice(client.pages(path, limit=min(limit, 200)), limit))
    if as_json:
        print_json(found)
        return
    if not found:
        say("nothing failed")
        return
    out.print(failures_table(found))


def workers(as_json: AsJson = False, api: Api = None) -> None:
    """List the worker processes: whether they live, what they hold, how fast they are."""
    found = _operator_client(api, "/v1/workers")
    if not as_json and not found:
        say("no worker has said that it is there: start one with `earwitness worker --kind cpu|gpu`")
        return
    print_json(found) if as_json else out.print(workers_table(found))


def queue(as_json: AsJson = False, api: Api = None) -> None:
    """Show the open work by kind: how much waits, since when, and how long it will take."""
    found = _operator_client(api, "/v1/queue")
    if not as_json and not found:
        say("nothing is open")
        return
    print_json(found) if as_json else out.print(queue_table(found))


def _operator_client(api: str | None, path: str) -> list[dict[str, object]]:
    token = load_settings().operator_token
    with ApiClient(api_url(api), token=token.get_secret_value() if token else None) as client:
        items: list[dict[str, object]] = client.get(path)["items"]
    return items
