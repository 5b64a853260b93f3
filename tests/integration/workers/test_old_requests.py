"""What was stored before a check of options came is still heard: a check refuses those who ask, not those who asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from chaos import fakes
from support.jobs import claim, request, results, submit
from support.lives import FINISH, PLAN, UNDERSTAND, fail, job_of, must, retry

import workers.plan
from db.database import Database
from db.states import JobState
from db.understanding import AskedRequest, complete_understand
from pipeline.stitching import stitch
from pipeline.tasks.items import parsed_items
from pipeline.tasks.requests import validate_request
from settings import Settings
from storage import open_store
from workers.context import WorkerContext
from workers.doorbell import SilentDoorbell
from workers.finish import finish
from workers.leases import Lease
from workers.plan import plan
from workers.understand import referenced

INTO_ITSELF = {"target": "en", "language": "en"}
CAPTION = request("caption", style="clotho")
TRANSLATION = request("translate", **INTO_ITSELF)


@pytest.fixture
def worker(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WorkerContext:
    monkeypatch.setattr(workers.plan, "ingest", fakes.copy_ingest)
    (tmp_path / "a.pcm").write_bytes(fakes.make_pcm(1, 1))
    settings = Settings(data_dir=tmp_path / "data", lease_seconds=30.0)
    settings.scratch_dir.mkdir(parents=True)
    store = open_store(settings.resolved_storage_url, roots=(tmp_path,))
    return WorkerContext("w1", settings, database, store, SilentDoorbell(), settings.scratch_dir)


def run_all(worker: WorkerContext) -> None:
    """Plan and finish as workers do, and answer in between without a model."""
    while found := claim(worker.database, PLAN):
        plan(worker, Lease(found))
    while found := claim(worker.database, UNDERSTAND):
        answers = [type(one)(**{**vars(one), "parsed": parsed_items([])}) for one in results(found)]
        with worker.database.write() as session:
            complete_understand(session, found, answers)
    while found := claim(worker.database, FINISH):
        finish(worker, Lease(found))


def test_nobody_may_ask_it_any_more() -> None:
    with pytest.raises(ValueError, match="nothing to translate from en into en"):
        validate_request("translate", INTO_ITSELF)


def test_a_job_that_asked_it_before_is_heard_with_all_else_that_it_asks(
    worker: WorkerContext, tmp_path: Path
) -> None:
    job_id = submit(worker.database, CAPTION, TRANSLATION, uris=((tmp_path / "a.pcm").as_uri(),))
    run_all(worker)
    assert job_of(worker.database, job_id).state == JobState.SUCCEEDED


def test_a_job_that_asked_it_before_can_be_retried(worker: WorkerContext, tmp_path: Path) -> None:
    job_id = submit(worker.database, CAPTION, TRANSLATION, uris=((tmp_path / "a.pcm").as_uri(),))
    fail(worker.database, must(claim(worker.database, PLAN)))
    again = retry(worker.database, job_id)
    run_all(worker)
    assert job_of(worker.database, again).state == JobState.SUCCEEDED


@pytest.mark.parametrize(
    "read",
    [
        lambda: workers.plan.task_applies("translate", INTO_ITSELF, 16_000),
        lambda: referenced([AskedRequest("r", "translate", INTO_ITSELF, 1)]) == [],
        lambda: stitch("translate", INTO_ITSELF, []).annotations == (),
    ],
    ids=["plan", "understand", "finish"],
)
def test_every_worker_reads_it(read: Callable[[], bool]) -> None:
    assert read()
