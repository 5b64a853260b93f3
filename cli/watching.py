"""Follow a job to its end, with a bar that counts seconds of audio."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from cli.client import PATIENCE_SECONDS, ApiClient, Json, is_away
from cli.errors import ApiProblem, ApiUnreachable
from cli.terminal import err, our_name, say

FINAL_STATES = ("succeeded", "partial", "failed", "cancelled")
POLL_SECONDS = 0.5


class _AudioSeconds(ProgressColumn):
    """``92/184 s of audio, 12x``: how much is done, and how many times faster than real time that was."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("measuring", no_wrap=True)
        if not task.total:
            return Text("no audio", no_wrap=True)
        rtfx = task.completed / task.elapsed if task.elapsed else 0.0
        return Text(f"{task.completed:.0f}/{task.total:.0f} s of audio, {rtfx:.0f}x", no_wrap=True)


def progress_bar() -> Progress:
    """Return a bar whose unit is a second of audio; shown on standard error."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        _AudioSeconds(),
        TimeElapsedColumn(),
        console=err,
    )


def wait_for(client: ApiClient, job: Json, tell: Callable[[Json], None]) -> Json:
    """Show the progress of a job until it is final, and return it; whoever stops waiting is told its id."""
    with _left_alone(job["id"]):
        (ended,) = watch_jobs(client, {job["id"]: "job"}, tell=tell)
    return ended


@contextmanager
def _left_alone(job_id: str) -> Iterator[None]:
    """Say that a job goes on without us, when Ctrl-C or an API that is away ends the wait for it."""
    try:
        yield
    except (KeyboardInterrupt, ApiUnreachable, ApiProblem):
        say(f"the job goes on: see `{our_name()} status {job_id}`")
        raise


def watch_jobs(
    client: ApiClient,
    job_ids: dict[str, str],
    *,
    each_round: Callable[[], None] = lambda: None,
    tell: Callable[[Json], None] = lambda job: None,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Json]:
    """Show the progress of jobs (id -> what to call it) until all are final, and return them.

    ``each_round`` runs between two looks and may raise to end the watch; ``tell`` gets each job as it is. An API
    that goes away has half a minute to come back; one that does not raises ``ApiUnreachable`` or ``ApiProblem``.
    """
    with progress_bar() as bars:
        rows = {job_id: bars.add_task(name, total=None) for job_id, name in job_ids.items()}
        jobs: dict[str, Json] = {}
        while True:
            for job_id, row in rows.items():
                jobs[job_id] = job = _look(client, job_id, each_round, sleep)
                tell(job)
                known = job["progress"]["audio_seconds_total"]
                bars.update(
                    row,
                    total=known if known > 0 or job["state"] in FINAL_STATES else None,
                    completed=job["progress"]["audio_seconds_done"],
                    description=f"{job_ids[job_id]} {job['state']}{_listing(job)}",
                )
            if all(job["state"] in FINAL_STATES for job in jobs.values()):
                return list(jobs.values())
            each_round()
            sleep(POLL_SECONDS)


def _listing(job: Json) -> str:
    """Say how many objects were found while prefixes and manifests are still being read."""
    return f", listing: {job['recordings']['total']} found" if job.get("sources_open") else ""


def teller() -> Callable[[Json], None]:
    """Return what says each warning of a job once, also one that comes while somebody waits."""
    told: set[str] = set()

    def tell(job: Json) -> None:
        for warning in job.get("warnings", ()):
            if warning not in told:
                told.add(warning)
                say(warning.partition(": ")[2] or warning)

    return tell


def _look(
    client: ApiClient, job_id: str, each_round: Callable[[], None], sleep: Callable[[float], None]
) -> Json:
    """Read a job; an API that restarts is waited for."""
    waited = 0.0
    while True:
        asked_at = time.monotonic()
        try:
            return client.get(f"/v1/jobs/{job_id}")
        except (ApiUnreachable, ApiProblem) as error:
            if not is_away(error) or waited >= PATIENCE_SECONDS:
                raise
        waited += POLL_SECONDS + time.monotonic() - asked_at
        each_round()
        sleep(POLL_SECONDS)
