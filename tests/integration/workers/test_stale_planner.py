"""A planner that lost its lease can neither overwrite nor delete the timeline of the one that took over."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from chaos import fakes
from sqlalchemy import select, update
from support.jobs import claim, request, submit

import workers.plan
from db.claims import LeaseLost
from db.clock import database_now
from db.failures import return_expired
from db.states import PassKind
from db.tables import Pass, Recording
from storage import open_store
from workers.context import WorkerContext
from workers.leases import Lease
from workers.plan import plan


def test_the_timeline_of_the_newer_attempt_stays(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "a.pcm").write_bytes(fakes.make_pcm(1, 1))
    store = open_store(context.settings.resolved_storage_url, roots=(sources,))
    context = dataclasses.replace(context, store=store)
    submit(context.database, request("caption", style="clotho"), uris=((sources / "a.pcm").as_uri(),))
    late = claim(context.database, PassKind.PLAN, worker="late")
    assert late is not None

    def overtaken(*arguments: object) -> object:
        """Decode, and let another worker do the same from beginning to end meanwhile."""
        found = fakes.copy_ingest(*arguments)
        monkeypatch.setattr(workers.plan, "ingest", fakes.copy_ingest)
        with context.database.write() as session:
            session.execute(update(Pass).values(lease_until=database_now(-1)))
        with context.database.write() as session:
            return_expired(session, late)
        new = claim(context.database, PassKind.PLAN, worker="new")
        assert new is not None
        plan(context, Lease(new))
        return found

    monkeypatch.setattr(workers.plan, "ingest", overtaken)
    with pytest.raises(LeaseLost):
        plan(context, Lease(late))
    with context.database.read() as session:
        recording = session.scalars(select(Recording)).one()
    assert recording.timeline_uri is not None
    kept = context.store.read(recording.timeline_uri, 0, len(fakes.make_pcm(1, 1)))
    assert hashlib.sha256(kept).hexdigest() == recording.timeline_sha256
    assert len(list(context.store.list(context.settings.resolved_storage_url + "/timelines/"))) == 1
