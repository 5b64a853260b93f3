"""Measure how fast workers drain ready passes when hearing costs nothing, beside a million finished ones.

``python -m bench.drain [--finished 1000000] [--passes 3000] [--processes 2] [--cancelled 100000]``. Worker processes
run the real runner and the real transactions; only the model is left out. The raw commits per second of the same
database are taken before and after. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import text

from bench.databases import KINDS, add_job, add_passes, analyze, commits_per_second, fresh_url
from db.claiming import claim_passes
from db.database import Database
from db.planning import NewChunk, PlanFacts, complete_plan, load_plan
from db.registering import register_recording
from db.states import PassKind
from db.submitting import NewJob, NewRequest, submit_job
from db.types import new_id
from db.understanding import NewResult
from settings import Settings
from storage import open_store
from workers.context import WorkerContext
from workers.doorbell import SilentDoorbell
from workers.leases import Lease
from workers.runner import Lane, Runner

MODEL = "no-op"
CHUNKS = 100  # of one recording
LEASE_SECONDS = 60.0


def main() -> None:
    """Measure both databases and print what was found."""
    arguments = _arguments()
    if arguments.worker is not None:
        _work(arguments.worker)
        return
    found: dict[str, float] = {}
    for kind in arguments.database or KINDS:
        with fresh_url(kind) as url:
            measured = measure(
                url,
                finished=arguments.finished,
                passes=arguments.passes,
                processes=arguments.processes,
                cancelled=arguments.cancelled,
            )
        for name, value in measured.items():
            print(f"{kind:11} {name:30} {value:10.1f}", flush=True)
            found[f"{kind}_{name}"] = round(value, 1)
    print(json.dumps(found))


def measure(
    url: str, *, finished: int = 1_000_000, passes: int = 3_000, processes: int = 2, cancelled: int = 0
) -> dict[str, float]:
    """Fill the empty database at ``url``, drain it, and return passes and raw commits per second."""
    database = Database(url)
    try:
        if finished:
            add_passes(database, add_job(database, "succeeded"), finished, kind="understand", model=MODEL)
        if cancelled:
            gone = add_job(database, "cancelled")
            add_passes(database, gone, cancelled, kind="understand", model=MODEL, state="ready")
        _plan(database, passes)
        analyze(database)
        before = commits_per_second(database)
        seconds = _drain(database, url, passes, processes)
        after = commits_per_second(database)
        behind = _claims_behind(database, cancelled) if cancelled else []
    finally:
        database.close()
    return {
        "passes_per_second": passes / seconds,
        "commits_per_second": (before + after) / 2,
        "passes": float(passes),
        "finished_before": float(finished),
        "cancelled_in_front": float(cancelled),
        **({"first_claim_behind_them_ms": behind[0], "slowest_claim_ms": max(behind)} if behind else {}),
        **({"claims_until_they_are_aside": float(len(behind) - 10)} if behind else {}),
    }


def _claims_behind(database: Database, cancelled: int) -> list[float]:
    """Return what each claim takes, in ms, when ``cancelled`` more ready passes of a cancelled job stand in front.

    The last ten claims are of a clean queue.
    """
    add_passes(
        database, add_job(database, "cancelled"), cancelled, kind="understand", model=MODEL, state="ready"
    )
    _plan(database, 2 * CHUNKS)
    with database.write() as session:
        session.execute(
            text("UPDATE passes SET virtual_time = 1e9 WHERE kind = 'understand' AND chunk_id IS NOT NULL")
        )
    in_front = text(
        "SELECT count(*) FROM passes WHERE kind = 'understand' AND state = 'ready' "
        "AND not_before IS NULL AND virtual_time < 1e9"
    )
    took: list[float] = []
    clean = 0
    while clean < 10:
        start = time.perf_counter()
        with database.write() as session:
            [claim] = claim_passes(
                session, PassKind.UNDERSTAND, "b", model=MODEL, lease_seconds=LEASE_SECONDS
            )
        took.append(1000 * (time.perf_counter() - start))
        assert claim.chunk_id is not None
        with database.read() as session:
            clean += session.scalar(in_front) == 0
    return took


def _plan(database: Database, passes: int) -> None:
    """Submit one job of recordings with ``CHUNKS`` chunks each and plan them, without audio."""
    recordings = -(-passes // CHUNKS)
    request = NewRequest("caption", "caption", {}, MODEL, 1)
    new = NewJob(
        "default", [f"s3://bench/{new_id()}/{number}.wav" for number in range(recordings)], [request], "mix"
    )
    with database.write() as session:
        submit_job(session, new)
    left = passes
    while left > 0:
        with database.write() as session:
            claims = claim_passes(session, PassKind.PLAN, "bench", lease_seconds=LEASE_SECONDS, limit=20)
        assert claims, "there is nothing left to plan"
        for claim in claims:
            with database.write() as session:
                recording = register_recording(session, claim, load_plan(session, claim), "v1", 1)
                facts = _facts(min(CHUNKS, left))
                complete_plan(session, claim, recording.id, facts, lambda task, options, samples: True)
            left -= CHUNKS


def _facts(chunks: int) -> PlanFacts:
    second = 16_000
    return PlanFacts(
        container="wav",
        codec="pcm_s16le",
        sampling_rate=second,
        source_channels=1,
        channel_count=1,
        duration_samples=chunks * second,
        duration_ms=chunks * 1_000,
        declared_ms=None,
        speech_ms=0,
        truncated=False,
        timeline_uri="file:///none.pcm",
        timeline_sha256="0" * 64,
        warnings=[],
        chunks=[
            NewChunk(0, i, i * second, (i + 1) * second, i * second, (i + 1) * second, [])
            for i in range(chunks)
        ],
    )


def _drain(database: Database, url: str, passes: int, processes: int) -> float:
    """Return the seconds from the first claim to the last pass, by the database's rows."""
    workers = [
        subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", "bench.drain", "--worker", url], stdin=subprocess.PIPE
        )
        for _ in range(processes)
    ]
    done_of = text("SELECT sum(chunks_done) FROM recording_requests")
    try:
        with database.read() as session:
            while not session.scalar(done_of):
                session.rollback()
                time.sleep(0.01)
        start = time.perf_counter()
        with database.read() as session:
            first = session.scalar(done_of)
        while True:
            with database.read() as session:
                done = session.scalar(done_of)
            if done >= passes:
                break
            time.sleep(0.05)
        return (time.perf_counter() - start) * passes / (passes - int(first))
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def _work(url: str) -> None:
    """Be a worker process with a model that answers at once."""
    import signal
    import threading

    folder = Path(tempfile.mkdtemp(prefix="earwitness-bench-worker-"))
    settings = Settings(data_dir=folder, lease_seconds=LEASE_SECONDS, poll_seconds=0.05)
    context = WorkerContext(
        "bench", settings, Database(url), open_store(folder.as_uri()), SilentDoorbell(), folder
    )
    runner = Runner(context, [Lane(PassKind.UNDERSTAND, 16, hear_nothing, model=MODEL)], poll_seconds=0.05)
    runner.start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    runner.stop(5.0)


def hear_nothing(context: WorkerContext, lease: Lease) -> None:
    """Work on an understand pass as ``workers.understand`` does, without samples and without a model."""
    work = context.understanding.load(lease.claim)
    results = [
        NewResult(
            request_id=request.id,
            raw_text="nothing",
            parsed={"text": "nothing", "flags": []},
            flags=[],
            finish_reason="stop",
            avg_logprob=-0.1,
            tokens=1,
            model=MODEL,
            model_revision="bench",
            prompt_version=1,
        )
        for request in work.requests
    ]
    context.understanding.complete(lease.claim, results)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finished", type=int, default=1_000_000)
    parser.add_argument("--passes", type=int, default=3_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cancelled", type=int, default=0)
    parser.add_argument("--database", choices=KINDS, action="append")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
