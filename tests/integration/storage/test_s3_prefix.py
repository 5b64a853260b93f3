"""List a long prefix of an S3 server, and expand it into a job: every key once, in order, in pages of 1,000.

``EARWITNESS_TEST_KEYS=5000`` makes it as long as that; the usual length keeps the suite quick.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from support.jobs import submit

from db.claiming import claim_passes
from db.queries import list_sources
from db.states import PassKind, SourceKind, SourceState
from db.submitting import NewSource
from db.tables import JobRecording
from settings import Settings
from workers.attempt import Ending, attempt
from workers.context import WorkerContext
from workers.doorbell import SilentDoorbell
from workers.expand import expand
from workers.leases import LeaseKeeper

pytestmark = pytest.mark.integration

KEYS = int(os.environ.get("EARWITNESS_TEST_KEYS", "1500"))
OTHERS = 20  # that are no audio by their names


@pytest.fixture
def keys(s3_client, bucket) -> list[str]:
    """The keys of a prefix that lies between others, in the order of their bytes."""
    audio = [f"calls/{number % 13:02}/{number:05}.wav" for number in range(KEYS)]
    notes = [f"calls/{number % 13:02}/{number:05}.txt" for number in range(OTHERS)]
    around = ["call", "calls.wav", "callsigns/a.wav"]

    def put(key: str) -> None:
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"x")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, [*audio, *notes, *around]))
    return sorted(audio)


@pytest.fixture
def context(sqlite_database, tmp_path, s3_store, s3_options) -> WorkerContext:
    settings = Settings(data_dir=tmp_path, lease_seconds=30.0)
    return WorkerContext("w1", settings, sqlite_database, s3_store, SilentDoorbell(), tmp_path)


@pytest.mark.timeout(300)
def test_a_long_prefix_is_listed_and_expanded_whole(context, s3_store, bucket, keys):
    began = time.monotonic()
    listed = [info.uri for info in s3_store.list(f"s3://{bucket}/calls/")]
    listing_seconds = time.monotonic() - began
    wanted = [f"s3://{bucket}/{key}" for key in keys]
    assert [uri for uri in listed if uri.endswith(".wav")] == wanted
    assert len(listed) == KEYS + OTHERS
    behind = wanted[KEYS // 2]
    found = s3_store.list(f"s3://{bucket}/calls/", after=behind)
    assert [info.uri for info in found if info.uri.endswith(".wav")] == wanted[KEYS // 2 + 1 :]

    source = NewSource(SourceKind.PREFIX, f"s3://{bucket}/calls/", None)
    job_id = submit(context.database, uris=(), sources=[source])
    with context.database.write() as session:
        (claim,) = claim_passes(session, PassKind.EXPAND, "w1", lease_seconds=30.0)
    keeper = LeaseKeeper(context.database, 30.0)
    began = time.monotonic()
    assert attempt(context, keeper, claim, expand) is Ending.DONE
    expanding_seconds = time.monotonic() - began
    keeper.close()
    with context.database.read() as session:
        (taken,) = list_sources(session, "default", job_id)
        links = select(JobRecording.uri).where(JobRecording.job_id == job_id).order_by(JobRecording.position)
        assert list(session.scalars(links)) == wanted
    assert (taken.state, taken.objects_seen, taken.objects_taken) == (
        SourceState.EXPANDED,
        KEYS + OTHERS,
        KEYS,
    )
    print(f"{KEYS} keys: listed in {listing_seconds:.1f} s, expanded in {expanding_seconds:.1f} s")
