"""Show the whole line on the bundled samples: start the service, submit over REST, read the answers by SQL."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cli.client import ApiClient, Json
from cli.demo_marks import mark_samples, print_marks
from cli.demo_queries import CAPTIONS, EMOTIONS, RECORDINGS, SEGMENTS, SUMMARIES, WORDS, print_query
from cli.errors import CliError, NotReadyInTime
from cli.service import listen, prepare_database, service_commands, url_of, wait_until_ready
from cli.supervisor import Supervisor
from cli.tables import recordings_table
from cli.terminal import our_name, out, plain, say
from cli.watching import watch_jobs
from samples import Sample, list_samples
from settings import Settings, load_settings

LIMIT_SECONDS = 300.0  # it takes half a minute; a machine ten times slower still gets there
DEFAULT_MODEL: str = Settings.model_fields["model"].default
EXAMPLE_QUERY = "SELECT * FROM segments"
ABOUT_MODEL = (
    "The bundled mini model knows a small world: 80 English words of synthetic speech, a few sounds and four moods. It "
    "is for trying everything, offline, in tests and in CI. It does not hear people: for that, set EARWITNESS_MODEL to "
    "a Qwen-Audio checkpoint."
)


class DemoFailed(CliError):
    """A sample could not be heard."""

    code = "demo_failed"


@dataclass(frozen=True)
class DemoJob:
    """Samples that are asked the same."""

    name: str
    channels: str
    samples: Sequence[Sample]

    @property
    def tasks(self) -> list[Json]:
        """What is asked of them."""
        return [
            {"task": name} for name in ("transcribe", "language", "caption", "scene", "emotion", "events")
        ]


def run_demo(folder: Path, samples: Sequence[Sample] | None = None) -> None:
    """Run the demo with its data in ``folder``, which stays; raises what a failed step raises.

    Whatever the environment says, the embedded defaults are used: this must not touch a real installation.
    """
    settings = embedded_settings(folder)
    samples = list_samples() if samples is None else samples
    logs = folder / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    say(f"Earwitness keeps this demo in {folder}")
    began = time.monotonic()
    with listen("127.0.0.1", 0) as listening:
        commands = service_commands(settings, listening, log_dir=logs)
        prepare_database(settings)
        supervisor = Supervisor(commands, tell=say, restart=False)
        url = url_of(listening)
        try:
            supervisor.start()
            with ApiClient(url) as client:
                say(f"starting the API at {url}, a CPU worker and a model worker")
                wait_until_ready(client, supervisor)
                _listen_to(client, samples, _watchman(supervisor))
        finally:
            supervisor.stop()
    _show(settings, folder, samples)
    say(f"done in {time.monotonic() - began:.0f} s")


def embedded_settings(folder: Path) -> Settings:
    """Return the defaults for a service in ``folder``, whatever the environment says."""
    return load_settings(
        data_dir=folder,
        database_url="",
        broker_url="",
        storage_url="",
        model=DEFAULT_MODEL,
        chat_model="",
        api_host="127.0.0.1",
    )


def group_samples(samples: Sequence[Sample]) -> list[DemoJob]:
    """Put samples that are heard the same way into one job: all channels mixed, or apart."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups["split" if sample.split else "mix"].append(sample)
    return [DemoJob(", ".join(s.name for s in group), channels, group) for channels, group in groups.items()]


def _watchman(supervisor: Supervisor) -> Callable[[], None]:
    """Return what looks after the processes while the jobs run, and after the clock."""
    end = time.monotonic() + LIMIT_SECONDS

    def look() -> None:
        supervisor.poll()
        if time.monotonic() > end:
            raise NotReadyInTime(f"the samples were not heard within {LIMIT_SECONDS:.0f} s")

    return look


def _listen_to(client: ApiClient, samples: Sequence[Sample], look: Callable[[], None]) -> None:
    """Upload the samples, submit them, and follow the jobs; raises ``DemoFailed`` with the errors of the recordings."""
    names: dict[str, str] = {}
    for job in group_samples(samples):
        sources = [{"uri": client.upload(sample.path)} for sample in job.samples]
        asked = {"sources": sources, "tasks": job.tasks, "channels": job.channels}
        names[client.submit({**asked, "metadata": {"demo": job.name}})["id"]] = job.name
    say(f"uploaded {len(samples)} recordings and submitted {len(names)} jobs over REST")
    jobs = watch_jobs(client, names, each_round=look)
    failed = [job["id"] for job in jobs if job["state"] != "succeeded"]
    for job_id in failed:
        out.print(recordings_table(client.pages(f"/v1/jobs/{job_id}/recordings")))
    if failed:
        raise DemoFailed(f"{len(failed)} of {len(jobs)} jobs did not succeed: see above")


def _show(settings: Settings, folder: Path, samples: Sequence[Sample]) -> None:
    database = settings.data_dir.absolute() / "earwitness.db"
    print_query(database, "What was submitted", RECORDINGS)
    print_query(database, "What was said", SEGMENTS)
    print_query(database, "Words, with their times", WORDS)
    print_query(database, "What could be heard", CAPTIONS)
    print_query(database, "How the voices sounded", EMOTIONS)
    print_query(database, "Of whole recordings", SUMMARIES)
    print_marks(mark_samples(database, samples))
    out.print()
    out.print(plain("What did we hear with?", "bold"))
    out.print(ABOUT_MODEL)
    out.print()
    out.print(plain("Where to look next", "bold"))
    out.print(plain(f"  sqlite3 {database} '{EXAMPLE_QUERY}'"), soft_wrap=True)
    out.print(
        plain(f"  {our_name()} up --data-dir {folder}    # then http://127.0.0.1:8000/docs"), soft_wrap=True
    )
    out.print(plain(f"  {folder / 'logs'}    # what the processes said"), soft_wrap=True)
    out.print(plain("  README.md, docs/api.md, docs/sql.md"))
