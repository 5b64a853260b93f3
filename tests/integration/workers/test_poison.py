"""A chunk that ends every process that hears it is set aside, and nothing that was heard beside it."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from chaos import fakes
from sqlalchemy import select, text
from support.jobs import request, submit
from support.lives import assert_sound, job_of
from support.servers import ROOT, WorkerProcess

from db.database import Database
from db.states import FINAL_JOB_STATES, JobState, LinkState, PassState
from db.tables import Job, JobRecording, Pass

CHUNKS = 20
POISONED = 7  # the chunk that kills
MARK = b"\x7fpoison!"  # what its samples hold

WORKER = f"""
import os, signal, sys, time
from chaos import fakes
import workers.cpu, workers.plan
from db.states import PassKind
from workers.process import run_worker
from workers.runner import Lane
from workers.understand import Ear

class Engine(fakes.HashEngine):
    def open(self, samples):
        if {MARK!r} in samples.tobytes():
            time.sleep(0.2)  # until others are under way
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(samples)

def open_lanes(context):
    ear = Ear(Engine(1, 8, 0.4), "tiny")
    return [*workers.cpu.open_lanes(context), Lane(PassKind.UNDERSTAND, 8, ear.understand, model="tiny")]

workers.plan.ingest = fakes.copy_ingest
sys.exit(run_worker("all", open_lanes))
"""


def sources(folder: Path) -> tuple[str, str]:
    """Write a recording with poison in one chunk and a harmless one; return their URIs."""
    uris = []
    for name in ("poison", "harmless"):
        pcm = bytearray(random.Random(name).randbytes(2 * CHUNKS * fakes.CHUNK_SAMPLES))
        if name == "poison":
            middle = 2 * int((POISONED + 0.5) * fakes.CHUNK_SAMPLES)
            pcm[middle : middle + len(MARK)] = MARK
        (folder / f"{name}.pcm").write_bytes(pcm)
        uris.append((folder / f"{name}.pcm").as_uri())
    return uris[0], uris[1]


@pytest.mark.timeout(180)
def test_a_chunk_that_kills_is_set_aside_and_all_that_it_was_heard_beside_is_heard(
    sqlite_database: Database, tmp_path: Path
) -> None:
    database = sqlite_database
    (tmp_path / "in").mkdir()
    (tmp_path / "poisoned_worker.py").write_text(WORKER)
    environment = {
        "EARWITNESS_DATA_DIR": str(tmp_path),
        "EARWITNESS_DATABASE_URL": f"sqlite:///{database.url.database}",
        "EARWITNESS_BROKER_URL": "",
        "EARWITNESS_STORAGE_URL": (tmp_path / "objects").as_uri(),
        "EARWITNESS_FILE_ROOTS": str(tmp_path / "in"),
        "EARWITNESS_LEASE_SECONDS": "1",
        "EARWITNESS_POLL_SECONDS": "0.1",
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}:{tmp_path}",
    }
    job_id = submit(database, request("caption", style="clotho"), uris=sources(tmp_path / "in"))
    deaths, end = 0, time.monotonic() + 120
    worker = WorkerProcess("poisoned_worker", environment, tmp_path / "worker.log")
    try:
        while job_of(database, job_id).state not in FINAL_JOB_STATES:
            assert time.monotonic() < end, worker.text()
            if worker.process.poll() is not None:
                deaths += 1
                worker = WorkerProcess("poisoned_worker", environment, tmp_path / "worker.log")
            time.sleep(0.1)
    finally:
        if worker.process.poll() is None:
            worker.kill()
    assert deaths == 3, worker.text()
    with database.read() as session:
        heard = session.scalars(select(Pass).where(Pass.kind == "understand")).all()
        (failed,) = [one for one in heard if one.state != PassState.DONE]
        index = session.scalar(text('SELECT "index" FROM chunks WHERE id = :id'), {"id": failed.chunk_id})
        job = session.scalars(select(Job)).one()
        links = session.scalars(select(JobRecording).order_by(JobRecording.position)).all()
        counts = session.execute(
            text("SELECT sum(chunks_total), sum(chunks_done), sum(chunks_failed) FROM recording_requests")
        ).one()
    assert len(heard) == 2 * CHUNKS
    assert max(one.crashes for one in heard if one is not failed) == 2  # held beside it, and never set aside
    assert (index, failed.state, failed.error_code, failed.crashes) == (
        POISONED, PassState.FAILED, "worker_crashed", 3
    )  # fmt: skip
    assert "nothing else (3 of 3)" in (failed.error_message or "")
    assert tuple(counts) == (2 * CHUNKS, 2 * CHUNKS - 1, 1)
    assert job.state == JobState.PARTIAL
    assert (job.recordings_total, job.recordings_done, job.recordings_partial, job.recordings_failed) == (
        2, 2, 1, 0
    )  # fmt: skip
    assert [one.state for one in links] == [LinkState.PARTIAL, LinkState.SUCCEEDED]
    assert (links[0].error_code, links[1].error_code) == ("chunks_failed", None)
    assert f"1 of {CHUNKS}" in (links[0].error_message or "")
    assert "worker_crashed" in (links[0].error_message or "")
    assert_sound(database)
