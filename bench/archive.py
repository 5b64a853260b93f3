"""Measure how archives go in: a prefix of 100,000 objects, and recordings of 10 and of 100 hours.

``python -m bench.archive [--objects 100000] [--real-hours 10] [--stub-hours 100]``. Every measurement is a process of
its own on fresh SQLite (``synchronous=FULL``). Expansion runs the worker's own code on a folder store and on S3, where
a stub of ours makes up the keys. The 100-hour recording has its decoder and its speech model replaced by made-up
samples and probabilities; the 10-hour one is an MP3 and nothing is replaced. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient
from sqlalchemy import select

import pipeline.ingest
from api.app import create_app
from bench.made_up_ingest import made_up_ingest
from bench.memory import TreePeak, rss_mb
from bench.s3_stub import s3_stub
from db.claiming import claim_passes
from db.database import Database
from db.planning import complete_plan, load_plan
from db.registering import register_recording
from db.states import PassKind, SourceState
from db.tables import Chunk, JobSource, Recording
from db.upgrade import upgrade
from pipeline.decode import DecodeOptions
from pipeline.timeline import SAMPLING_RATE
from settings import Settings
from storage import folder_uri, open_store
from workers.attempt import attempt
from workers.context import WorkerContext, s3_options
from workers.doorbell import SilentDoorbell
from workers.expand import expand
from workers.leases import LeaseKeeper
from workers.plan import plan, plan_facts, task_applies

TASKS = ["transcribe", "caption"]
STATUS_ASKED = 50

Measurement = dict[str, float]


def main() -> None:
    """Measure each part in a process of its own and print what it took, and the JSON line."""
    arguments = _arguments()
    if arguments.part is not None:
        print(json.dumps({**PARTS, "stub": stub}[arguments.part](arguments)))
        return
    found: dict[str, Measurement] = {}
    with tempfile.TemporaryDirectory(prefix="earwitness-bench-") as name:
        for part in PARTS:
            found[part] = _measure(part, arguments, Path(name))
            figures = ", ".join(f"{figure} {value:g}" for figure, value in found[part].items())
            print(f"{part:10} {figures}", flush=True)
    print(json.dumps(_summary(found)))


def folder(arguments: argparse.Namespace) -> Measurement:
    """Submit a folder's prefix over the API's own routes and expand it."""
    archive = arguments.folder / "archive"
    for number in range(arguments.objects):
        place = archive / f"{number // 1_000:03}"
        if number % 1_000 == 0:
            place.mkdir(parents=True)
        (place / f"{number:06}.wav").touch()
    with _service(arguments.folder / "data", EARWITNESS_FILE_ROOTS=str(archive)) as context:
        return _expand(context, folder_uri(archive) + "/", arguments.objects)


def s3(arguments: argparse.Namespace) -> Measurement:
    """The same on S3; the stub is a process of its own, as S3 is."""
    stub = subprocess.Popen(  # noqa: S603 - this very module
        [sys.executable, "-m", "bench.archive", "--part", "stub", "--objects", str(arguments.objects)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert stub.stdout is not None
        options = {
            "EARWITNESS_S3_ENDPOINT_URL": stub.stdout.readline().strip(),
            "EARWITNESS_S3_REGION": "us-east-1",
            "EARWITNESS_S3_PATH_STYLE": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }
        with _service(arguments.folder / "data", **options) as context:
            return _expand(context, "s3://bucket/calls/", arguments.objects)
    finally:
        stub.kill()
        stub.wait()


def stub(arguments: argparse.Namespace) -> Measurement:
    """Be the S3 server of ``s3`` until killed."""
    with s3_stub([f"calls/{number:08}.wav" for number in range(arguments.objects)]) as endpoint:
        print(endpoint, flush=True)
        threading.Event().wait()
    return {}


def plan_stub(arguments: argparse.Namespace) -> Measurement:
    """Plan a very long recording whose decoder and speech model are made up, and ask for the job's status."""
    seconds = arguments.stub_hours * 3_600
    with _service(arguments.folder / "data") as context, _client(context) as client:
        job_id = _submit(client, {"uri": "s3://bucket/long.wav"})
        base_mb = rss_mb("VmRSS")
        (claim,) = _claim(context, PassKind.PLAN)
        began = time.perf_counter()
        with made_up_ingest(seconds), open(os.devnull, "rb") as nothing:
            options = DecodeOptions(max_seconds=seconds + 1)
            ingested = pipeline.ingest.ingest(nothing, lambda block: None, options)
        with context.database.write() as session:
            work = load_plan(session, claim)
            recording = register_recording(session, claim, work, "v1", 1)
        facts = plan_facts(ingested, "file:///timeline.pcm")
        with context.database.write() as session:
            complete_plan(session, claim, recording.id, facts, task_applies)
        took = time.perf_counter() - began
        peak_mb = rss_mb("VmHWM")
        return {
            "seconds": round(took, 1),
            "chunks": _check_tiles(context.database, round(seconds * SAMPLING_RATE)),
            "peak_mb": round(peak_mb, 1),
            "base_mb": round(base_mb, 1),
            "status_ms": _status_ms(client, job_id),
        }


def plan_real(arguments: argparse.Namespace) -> Measurement:
    """Plan a long MP3 for real, with a worker's own code; the peak holds its decode child too."""
    archive = arguments.folder / "archive"
    archive.mkdir()
    make = [sys.executable, "-c", "import sys; from pathlib import Path; from bench.ingest import make_recording; "
            "make_recording(Path(sys.argv[1]), float(sys.argv[2]))"]  # fmt: skip
    path, seconds = archive / "long.mp3", arguments.real_hours * 3_600
    subprocess.run([*make, str(path), str(seconds)], check=True)  # noqa: S603 - encoding is not what is measured
    with (
        _service(arguments.folder / "data", EARWITNESS_FILE_ROOTS=str(archive)) as context,
        _client(context) as client,
    ):
        job_id = _submit(client, {"uri": folder_uri(path)})
        (claim,) = _claim(context, PassKind.PLAN)
        peak = TreePeak()
        began = time.perf_counter()
        keeper = LeaseKeeper(context.database, context.settings.lease_seconds)
        attempt(context, keeper, claim, plan)
        took = time.perf_counter() - began
        keeper.close()
        with context.database.read() as session:
            samples = session.scalars(select(Recording.duration_samples)).one()
        assert samples is not None
        assert abs(samples / SAMPLING_RATE - seconds) < 5
        return {
            "seconds": round(took, 1),
            "chunks": _check_tiles(context.database, samples),
            "peak_mb": round(peak.stop(), 1),
            "status_ms": _status_ms(client, job_id),
        }


PARTS: Mapping[str, Callable[[argparse.Namespace], Measurement]] = {
    "folder": folder,
    "s3": s3,
    "plan_stub": plan_stub,
    "plan_real": plan_real,
}


@contextmanager
def _service(data: Path, **environment: str) -> Iterator[WorkerContext]:
    """Yield a worker's context on a fresh database, with these settings."""
    os.environ.update({**environment, "EARWITNESS_DATA_DIR": str(data)})
    settings = Settings()
    settings.scratch_dir.mkdir(parents=True)
    database = Database(settings.resolved_database_url)
    upgrade(database)
    store = open_store(settings.resolved_storage_url, roots=settings.file_roots, s3=s3_options(settings))
    yield WorkerContext("bench", settings, database, store, SilentDoorbell(), settings.scratch_dir)
    database.close()


@contextmanager
def _client(context: WorkerContext) -> Iterator[TestClient]:
    with TestClient(create_app(context.settings, database=context.database, store=context.store)) as client:
        yield client


def _submit(client: TestClient, source: dict[str, str]) -> str:
    answer = client.post("/v1/jobs", json={"sources": [source], "tasks": TASKS})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _expand(context: WorkerContext, prefix: str, objects: int) -> Measurement:
    with _client(context) as client:
        _submit(client, {"uri": "s3://bucket/warm.wav"})
        base_mb = rss_mb("VmRSS")
        began = time.perf_counter()
        job_id = _submit(client, {"prefix": prefix})
        accept_s = time.perf_counter() - began
        keeper = LeaseKeeper(context.database, context.settings.lease_seconds)
        began, cpu_began = time.perf_counter(), time.process_time()
        while claims := _claim(context, PassKind.EXPAND):
            attempt(context, keeper, claims[0], expand)
        took, cpu_took = time.perf_counter() - began, time.process_time() - cpu_began
        keeper.close()
        growth_mb = rss_mb("VmHWM") - base_mb
        with context.database.read() as session:
            source = session.scalars(select(JobSource)).one()
        assert (source.state, source.objects_taken) == (SourceState.EXPANDED, objects), source.error_message
        return {
            "accept_s": round(accept_s, 4),
            "per_s": round(objects / took),
            "per_cpu_s": round(objects / cpu_took),
            "growth_mb": round(growth_mb, 1),
            "status_ms": _status_ms(client, job_id),
        }


def _claim(context: WorkerContext, kind: PassKind) -> list[Any]:
    with context.database.write() as session:
        return claim_passes(session, kind, context.name, lease_seconds=context.settings.lease_seconds)


def _status_ms(client: TestClient, job_id: str) -> float:
    """Return the median time of asking for one job, in ms."""
    times = []
    for _ in range(STATUS_ASKED):
        began = time.perf_counter()
        assert client.get(f"/v1/jobs/{job_id}").status_code == 200
        times.append(1_000 * (time.perf_counter() - began))
    return round(statistics.median(times), 1)


def _check_tiles(database: Database, samples: int) -> int:
    """Return how many chunks there are; fails unless those of each channel tile the timeline."""
    with database.read() as session:
        query = select(Chunk.channel, Chunk.owned_start, Chunk.owned_end)
        rows = session.execute(query.order_by(Chunk.channel, Chunk.index)).all()
    for _, channel in groupby(rows, key=lambda row: row.channel):
        end = 0
        for chunk in channel:
            assert chunk.owned_start == end
            end = chunk.owned_end
        assert end == samples
    return len(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--objects", type=int, default=100_000, help="under the prefix (default: 100000)")
    parser.add_argument("--real-hours", type=float, default=10.0, help="of the MP3 (default: 10)")
    parser.add_argument("--stub-hours", type=float, default=100.0, help="of the made-up one (default: 100)")
    parser.add_argument("--part", choices=[*PARTS, "stub"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(part: str, arguments: argparse.Namespace, folder: Path) -> Measurement:
    place = folder / part
    place.mkdir()
    command = [sys.executable, "-m", "bench.archive", "--part", part, "--folder", str(place)]
    for name in ("objects", "real_hours", "stub_hours"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603 - this very module
    found: Measurement = json.loads(run.stdout.splitlines()[-1])
    return found


def _summary(found: Mapping[str, Measurement]) -> Measurement:
    return {
        "accept_s": max(found["folder"]["accept_s"], found["s3"]["accept_s"]),
        "expand_per_s": found["folder"]["per_s"],
        "expand_s3_per_s": found["s3"]["per_s"],
        "rss_growth_mb": max(found["folder"]["growth_mb"], found["s3"]["growth_mb"]),
        "plan_100h_peak_mb": found["plan_stub"]["peak_mb"],
        "plan_10h_peak_mb": found["plan_real"]["peak_mb"],
        "status_ms": max(one["status_ms"] for one in found.values()),
    }


if __name__ == "__main__":
    main()
