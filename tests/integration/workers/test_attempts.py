"""What becomes of a pass when its work ends well, badly, or not at all."""

from __future__ import annotations

import threading
import time
from contextlib import AbstractContextManager

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from support.jobs import claim, submit
from support.servers import wait_until

from db.claims import Claim, hold
from db.states import PassKind, PassState
from db.tables import Pass
from pipeline.errors import EmptyFile
from storage.errors import StorageUnavailable
from workers.attempt import Work, attempt, failure_of
from workers.context import WorkerContext
from workers.leases import Lease, LeaseKeeper
from workers.reconcile import reconcile
from workers.runner import Lane, Runner
from workers.scratch import private_folder


def claimed(context: WorkerContext, lease: float = 30.0) -> Claim:
    found = claim(context.database, PassKind.PLAN, worker=context.name, lease=lease)
    assert found is not None
    return found


def row(context: WorkerContext, pass_id: str) -> Pass:
    with context.database.read() as session:
        return session.scalars(select(Pass).where(Pass.id == pass_id)).one()


def raising(error: Exception) -> Work:
    def work(context: WorkerContext, lease: Lease) -> None:
        raise error

    return work


def complete(context: WorkerContext, lease: Lease) -> None:
    with context.database.write() as session:
        hold(session, lease.claim)


@pytest.mark.parametrize(
    ("error", "code", "state"),
    [
        (EmptyFile("the object is empty"), "empty_file", PassState.FAILED),
        (StorageUnavailable("no answer"), "storage_unavailable", PassState.READY),
        (ZeroDivisionError("bug"), "internal_error", PassState.READY),
        (OperationalError("x", {}, Exception("gone")), "database_unavailable", PassState.READY),
    ],
)
def test_an_error_becomes_the_passs_failure(
    context: WorkerContext, keeper: LeaseKeeper, error: Exception, code: str, state: PassState
) -> None:
    submit(context.database)
    found = claimed(context)
    attempt(context, keeper, found, raising(error))
    stored = row(context, found.pass_id)
    assert (stored.error_code, stored.state, stored.errors) == (code, state, 1)
    assert failure_of(error).code == code


def test_work_that_ends_well_leaves_no_error(context: WorkerContext, keeper: LeaseKeeper) -> None:
    submit(context.database)
    found = claimed(context)
    attempt(context, keeper, found, complete)
    stored = row(context, found.pass_id)
    assert (stored.state, stored.error_code, stored.lease_until) == (PassState.DONE, None, None)


def test_long_work_keeps_its_lease(context: WorkerContext, keeper: LeaseKeeper) -> None:
    submit(context.database)
    found = claimed(context, lease=1.0)

    def slow(context: WorkerContext, lease: Lease) -> None:
        time.sleep(1.6)
        assert reconcile(context) == 0
        complete(context, lease)

    attempt(context, keeper, found, slow)
    assert row(context, found.pass_id).state == PassState.DONE


def test_work_whose_lease_another_worker_took_is_told_and_dropped(
    context: WorkerContext, keeper: LeaseKeeper
) -> None:
    submit(context.database)
    found = claimed(context)
    with context.database.write() as session:
        session.execute(
            update(Pass).where(Pass.id == found.pass_id).values(epoch=Pass.epoch + 1, worker="w2")
        )
    told = threading.Event()

    def patient(context: WorkerContext, lease: Lease) -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            try:
                lease.check()
            except Exception:
                told.set()
                raise
            time.sleep(0.02)

    attempt(context, keeper, found, patient)
    assert told.is_set()
    stored = row(context, found.pass_id)
    assert (stored.worker, stored.state, stored.errors) == ("w2", PassState.LEASED, 0)


def test_a_stopping_worker_gives_its_passes_back(context: WorkerContext) -> None:
    submit(context.database)
    started = threading.Event()

    def endless(context: WorkerContext, lease: Lease) -> None:
        started.set()
        while True:
            lease.check()
            time.sleep(0.02)

    runner = Runner(context, [Lane(PassKind.PLAN, 1, endless)], poll_seconds=0.05)
    runner.start()
    assert started.wait(5)
    runner.stop(grace_seconds=0.2)
    with context.database.read() as session:
        stored = session.scalars(select(Pass)).one()
    assert (stored.state, stored.attempts, stored.crashes, stored.errors) == (PassState.READY, 0, 0, 0)


def test_a_runner_works_on_no_more_than_its_places_and_drains_everything(context: WorkerContext) -> None:
    submit(context.database, uris=tuple(f"s3://b/{i}" for i in range(12)))
    lock, running, most = threading.Lock(), 0, 0

    def work(context: WorkerContext, lease: Lease) -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        complete(context, lease)
        with lock:
            running -= 1

    runner = Runner(context, [Lane(PassKind.PLAN, 3, work)], poll_seconds=30.0)
    runner.start()

    def drained() -> bool:
        with context.database.read() as session:
            return set(session.scalars(select(Pass.state))) == {PassState.DONE}

    wait_until(drained, 20, "every pass is done without another poll")
    runner.stop(1.0)
    assert most == 3


def test_a_wake_finds_work_long_before_the_next_poll(context: WorkerContext) -> None:
    done = threading.Event()

    def work(context: WorkerContext, lease: Lease) -> None:
        complete(context, lease)
        done.set()

    runner = Runner(context, [Lane(PassKind.PLAN, 1, work)], poll_seconds=60.0)
    runner.start()
    time.sleep(0.3)
    submit(context.database)
    assert not done.wait(0.3)
    runner.wake(PassKind.PLAN)
    assert done.wait(5)
    runner.stop(1.0)


def test_an_idle_process_keeps_no_writer_out(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    done = threading.Event()
    written: list[float] = []
    write = context.database.write

    def counted(tenant: str | None = None) -> AbstractContextManager[Session]:
        written.append(time.monotonic())
        return write(tenant)

    def work(context: WorkerContext, lease: Lease) -> None:
        complete(context, lease)
        done.set()

    monkeypatch.setattr(context.database, "write", counted)
    runner = Runner(context, [Lane(PassKind.PLAN, 1, work)], poll_seconds=0.02)
    runner.start()
    time.sleep(0.6)
    assert len(written) == 1, "the first look claims, the others read"
    assert runner.seconds_since_look() < 0.5
    submit(context.database)
    assert done.wait(5)
    runner.stop(1.0)


def test_a_lent_thread_works_on_one_pass_and_not_beyond_the_places(context: WorkerContext) -> None:
    submit(context.database, uris=("s3://b/1", "s3://b/2"))
    release = threading.Event()

    def work(context: WorkerContext, lease: Lease) -> None:
        release.wait(5)
        complete(context, lease)

    runner = Runner(context, [Lane(PassKind.PLAN, 1, work)], poll_seconds=60.0)  # not started: no feeder
    thread = threading.Thread(target=runner.work_one, args=(PassKind.PLAN,))
    thread.start()
    time.sleep(0.2)
    assert not runner.work_one(PassKind.PLAN)  # the only place is taken
    release.set()
    thread.join()
    assert runner.work_one(PassKind.PLAN)
    assert not runner.work_one(PassKind.PLAN)  # nothing is ready
    assert not runner.work_one(PassKind.UNDERSTAND)  # not what this process does
    runner.stop(1.0)


def test_a_round_takes_back_what_a_dead_worker_held_and_rings_for_it(context: WorkerContext) -> None:
    submit(context.database)
    found = claimed(context, lease=-1.0)
    assert reconcile(context) == 1
    assert row(context, found.pass_id).state == PassState.READY
    assert (PassKind.PLAN, "", 1) in context.doorbell.rings  # type: ignore[attr-defined]  # the recording one
    assert reconcile(context) == 0


def test_a_private_folder_lives_as_long_as_its_lease(context: WorkerContext) -> None:
    submit(context.database)
    found = claimed(context)
    with private_folder(context.scratch_dir, found) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "in.bin").write_bytes(b"x")
        reconcile(context)
        assert folder.exists()
    assert not folder.exists()


def test_the_folder_of_a_dead_worker_is_swept_and_nothing_else(context: WorkerContext) -> None:
    submit(context.database)
    found = claimed(context, lease=-1.0)
    folder = context.scratch_dir / f"{found.pass_id}.{found.epoch}"
    folder.mkdir()
    foreign = context.scratch_dir / "somebody-elses"
    foreign.mkdir()
    reconcile(context)
    assert not folder.exists()
    assert foreign.exists()
