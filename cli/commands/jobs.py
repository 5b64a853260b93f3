"""Submit recordings, follow them, and read what was found; a client of the API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.asking import FORM, parse_task
from cli.client import ApiClient, Json
from cli.errors import InvalidSource
from cli.findings import read_findings
from cli.sources import find_sources
from cli.submission import (
    Asked,
    check_dry,
    check_glob,
    dry_run_table,
    rehearse,
    sources_table,
    stand_in,
    uploaded,
)
from cli.tables import (
    annotations_table,
    jobs_table,
    named,
    recordings_table,
    segments_table,
    summaries_table,
    tasks_table,
)
from cli.terminal import err, our_name, out, plain, print_json, say
from cli.watching import teller, wait_for
from settings import load_settings

Api = Annotated[str | None, typer.Option("--api", help="URL of the API; by default that of the settings.")]
MOST_ROWS = 200  # of a job's recordings on a terminal
MOST_LINES = 5  # of a manifest's bad lines
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


def an_id(value: str | None) -> str | None:
    """Check an id that was given, which becomes part of a path; a line break around it is no matter."""
    try:
        return None if value is None else str(UUID(value.strip()))
    except ValueError:
        raise typer.BadParameter(f"an id is a UUID, and not {value!r}") from None


def submit(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders, patterns, s3:// or file:// URIs; one that ends with a slash means all below it."
        ),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help=f"What to find out: {FORM}. May be repeated.")
    ] = None,
    channels: Annotated[
        str, typer.Option(help="mix, or split for a stereo call with a speaker on each side.")
    ] = "mix",
    webhook: Annotated[
        str | None, typer.Option(help="URL to tell how the job ended; its secret is printed if it is new.")
    ] = None,
    priority: Annotated[int, typer.Option(help="0 to 9; a higher one runs sooner.")] = 0,
    glob: Annotated[
        str | None, typer.Option(help="Which objects below the prefixes, such as '**/*.wav'.")
    ] = None,
    manifest: Annotated[
        list[str] | None,
        typer.Option(
            help="A list of objects, as URI or file: JSON lines, CSV or a URI a line. May be repeated."
        ),
    ] = None,
    tracking: Annotated[str | None, typer.Option(help="Your own id, carried to every row.")] = None,
    if_seen: Annotated[
        str | None, typer.Option(help="What is in the archive already: skip, reuse (default) or redo.")
    ] = None,
    identity: Annotated[
        str | None,
        typer.Option(
            help="What is in the archive: the same version at the same place (default), or the same content."
        ),
    ] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(help="Notes to keep with the job, NAME=VALUE. May be repeated.")
    ] = None,
    if_no_worker: Annotated[
        str | None,
        typer.Option(help="When no worker serves a model that is needed: wait (default) or refuse."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what the job would hear; nothing is stored.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job is done.")] = False,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Submit recordings; local files are uploaded. With --wait, exit code 1 unless the job succeeds."""
    found, lists = find_sources(sources or []), find_sources(manifest or [])
    if not found and not lists:
        raise InvalidSource("there is nothing to submit: name files, folders, URIs, or a --manifest")
    asked = Asked(channels, priority, tracking, if_seen, identity, metadata or (), webhook, if_no_worker)
    asked.body([], [])  # what is not written well is said before anything is uploaded
    check_glob(glob, found)
    if dry_run:
        check_dry(found)
    tasks = [parse_task(text) for text in task or ["transcribe"]]
    with open_client(api) as client:
        if any(isinstance(source, Path) for source in [*found, *lists]):
            shape = [uploaded(one, stand_in(one), None) for one in found]
            shape += [{"manifest": stand_in(one)} for one in lists]
            rehearse(client, asked.body(shape, tasks))
        named = [uploaded(one, uri, glob) for one, uri in zip(found, upload_all(client, found), strict=True)]
        named += [{"manifest": uri} for uri in upload_all(client, lists)]
        body = asked.body(named, tasks)
        if dry_run:
            counted = client.dry_run(body)
            print_json(counted) if as_json else out.print(dry_run_table(counted), highlight=False)
            return
        job = client.submit(body)
        tell = teller()
        tell(job)
        if secret := (job.get("webhook") or {}).get("secret"):
            say(f"webhook {job['webhook']['id']} signs with {secret}, which is shown this once")
        if wait:
            job = wait_for(client, job, tell)
            _print_rows(client, job)
    if as_json:
        print_json(job)
    else:
        out.print(job["id"], highlight=False)
        say(where_to_look(job, wait))
    if wait and job["state"] != "succeeded":
        raise typer.Exit(1)


def status(
    job_id: Annotated[
        str | None, typer.Argument(help="A job; without it, the newest jobs.", callback=an_id)
    ] = None,
    limit: Annotated[int, typer.Option(help="How many jobs to list.", min=1, max=200)] = 20,
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Say how far jobs are: all of them in short, or one with its recordings and errors."""
    with open_client(api) as client:
        if job_id is None:
            print_jobs(client.get("/v1/jobs", limit=limit)["items"], as_json)
            return
        job = client.get(f"/v1/jobs/{job_id}")
        rows = list(_rows(client, job, all_of_them=as_json))
        if not as_json:
            _print_sources(client, job)
    if as_json:
        print_json({**job, "items": rows})
        return
    progress = job["progress"]
    out.print(jobs_table([job]))
    out.print(
        f"{progress['audio_seconds_done']:.0f} of {progress['audio_seconds_total']:.0f} s of audio done, "
        f"{progress['recordings_planned']} of {job['recordings']['total']} recordings measured",
        highlight=False,
    )
    teller()(job)
    _say_what_is_left_out(job, len(rows))
    if rows:
        out.print(recordings_table(rows))


def results(
    job_or_recording_id: Annotated[
        str, typer.Argument(help="The id of a job or of a recording.", callback=an_id)
    ],
    as_json: AsJson = False,
    api: Api = None,
) -> None:
    """Print what was found: of the whole recording, then segments with their words, and all else with its times.

    Of a job that is what it asked for, of a recording what any job asked.
    """
    with open_client(api) as client:
        recordings = read_findings(client, job_or_recording_id)
    if as_json:
        print_json(recordings)
        return
    for recording in recordings:
        out.print(plain(f"\n{named(recording)}", "bold"), highlight=False)
        if recording["error"]:
            out.print(plain(f"{recording['error']['code']}: {recording['error']['message']}", "red"))
        if recording["summaries"]:
            out.print(summaries_table(recording["summaries"]))
        if recording["segments"]:
            out.print(segments_table(recording["segments"]))
        if recording["annotations"]:
            out.print(annotations_table(recording["annotations"]))
        if not recording["segments"] and not recording["annotations"]:
            out.print("nothing was found, or not yet")


def tasks(as_json: AsJson = False, api: Api = None) -> None:
    """List what can be asked of a recording."""
    with open_client(api) as client:
        found = client.get("/v1/tasks")["items"]
    print_json(found) if as_json else out.print(tasks_table(found))


def where_to_look(job: Json, waited: bool) -> str:
    """Say which command shows more of a job."""
    told = {"failed": "failures", "partial": "failures"}.get(job["state"], "results") if waited else "status"
    return f"see `{our_name()} {told} {job['id']}`"


def print_jobs(jobs: list[Json], as_json: bool) -> None:
    """Print jobs for people or for programs."""
    if not jobs and not as_json:
        say("there is no job")
        return
    print_json(jobs) if as_json else out.print(jobs_table(jobs))


def upload_all(client: ApiClient, sources: list[Path | str]) -> list[str]:
    """Upload the files among the sources, with a bar, and return all URIs in the same order."""
    files = [source for source in sources if isinstance(source, Path)]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=err, disable=not files) as bars:
        total = sum(file.stat().st_size for file in files)
        row = bars.add_task(f"uploading {len(files)} file{'s' if len(files) > 1 else ''}", total=total)
        return [
            client.upload(source, lambda count: bars.advance(row, count))
            if isinstance(source, Path)
            else source
            for source in sources
        ]


def api_url(api: str | None) -> str:
    """Return where the API is: as the option says, else as the settings say."""
    settings = load_settings()
    if api or settings.api_url:
        return api or settings.api_url
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.api_host, settings.api_host)  # noqa: S104 - read
    return f"http://{host}:{settings.api_port}"


def open_client(api: str | None) -> ApiClient:
    """Connect to the API that is named, or else to that of the settings, with the key of the settings."""
    key = load_settings().api_key
    return ApiClient(api_url(api), token=None if key is None else key.get_secret_value())


def _print_rows(client: ApiClient, job: Json) -> None:
    _print_sources(client, job)
    rows = list(_rows(client, job))
    _say_what_is_left_out(job, len(rows))
    if rows:
        err.print(recordings_table(rows))


def _print_sources(client: ApiClient, job: Json) -> None:
    """Show prefixes and manifests, and the first lines of manifests that could not be taken."""
    if job.get("sources"):
        err.print(sources_table(job["sources"]))
    for source in job.get("sources", ()):
        if source["lines_bad"]:
            path = f"/v1/jobs/{job['id']}/sources/{source['id']}/errors"
            for line in client.get(path, limit=MOST_LINES)["items"]:
                err.print(plain(f"  line {line['line']}: {line['code']}: {line['message']}"), soft_wrap=True)
            if source["lines_bad"] > MOST_LINES:
                say(f"  {source['lines_bad']} lines were bad; GET {path} has the first thousand")


def _rows(client: ApiClient, job: Json, *, all_of_them: bool = False) -> Iterator[Json]:
    """Yield the recordings of a job; of a large one only those that went wrong, a page of them."""
    path = f"/v1/jobs/{job['id']}/recordings"
    if all_of_them or job["recordings"]["total"] <= MOST_ROWS:
        return client.pages(path, limit=200)
    return iter(client.get(path, limit=MOST_ROWS, state=["failed", "partial"])["items"])


def _say_what_is_left_out(job: Json, shown: int) -> None:
    total = job["recordings"]["total"]
    if total > MOST_ROWS:
        say(f"{shown} of {total} recordings shown: the first that failed or are partial; --json has them all")
