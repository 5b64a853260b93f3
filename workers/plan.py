"""Plan one recording: fetch the object, decode it once into a timeline in storage, map speech, cut chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from db.claims import Claim
from db.planning import NewChunk, PlanFacts, PlanStored, PlanWork, complete_plan, load_plan
from db.registering import register_recording, skip_if_seen, take_twin
from db.states import Identity, IfSeen, PassKind, RecordingState
from db.tables import Recording
from db.types import new_id
from pipeline.decode import DecodeOptions
from pipeline.ingest import Ingested, ingest
from pipeline.tasks import get_task
from pipeline.timeline import Channels, to_ms
from storage.errors import InputAccessDenied, InputArchived, InputNotFound, InputWrongRegion
from storage.store import ObjectInfo
from storage.uploads import resolve_source
from storage.uris import join
from workers.context import WorkerContext
from workers.leases import Lease
from workers.scratch import private_folder
from workers.trouble import check_room


def plan(context: WorkerContext, lease: Lease) -> None:
    """Work on a plan pass. A crash leaves a private folder and perhaps an unreferenced timeline object behind."""
    claim = lease.claim
    with context.database.read() as session:
        work = load_plan(session, claim)
    known = work.recording
    if known is not None and known.state == RecordingState.PLANNED:
        # The job asks more of a recording that is there: its object is fetched only to make its timeline again.
        if _is_skipped(context, lease, work, known):
            return
        facts = None
        if known.timeline_uri is None and work.needs_timeline:
            facts = _decode_again(context, lease, work, known)
        _store(context, lease, known.id, facts)
        return
    found = context.store.head(_location(context, lease, work.uri))
    with context.database.write() as session:
        recording = register_recording(session, claim, work, found.version, found.size_bytes)
    if _is_skipped(context, lease, work, recording):
        return
    if _is_ready(context, lease, recording):
        _store(context, lease, recording.id, None)
        return
    with private_folder(context.scratch_dir, claim) as folder:
        path, sha256 = _fetch(context, lease, found, folder)
        twin = _twin(context, lease, work, recording, sha256)
        if twin is not None and _is_skipped(context, lease, work, twin):
            return
        is_ready = twin is not None and _is_ready(context, lease, twin)
        recording = twin or recording
        facts = None if is_ready else _decode(context, lease, work, path, sha256, recording.id)
    _store(context, lease, recording.id, facts)


def _is_ready(context: WorkerContext, lease: Lease, recording: Recording) -> bool:
    """Say whether nothing has to be decoded for a job whose source is linked to this recording."""
    if recording.state != RecordingState.PLANNED or recording.timeline_uri is not None:
        return recording.state == RecordingState.PLANNED
    with context.database.read() as session:
        return not load_plan(session, lease.claim).needs_timeline


def _twin(
    context: WorkerContext, lease: Lease, work: PlanWork, recording: Recording, sha256: str
) -> Recording | None:
    """Return what the archive has of the same bytes, for a job that knows objects by these, and link to it."""
    if work.identity != Identity.CONTENT or work.if_seen == IfSeen.REDO:
        return None
    if recording.state == RecordingState.PLANNED:
        return None  # it was heard before; only its timeline is wanted
    with context.database.write() as session:
        return take_twin(session, lease.claim, work, recording, sha256)


def _is_skipped(context: WorkerContext, lease: Lease, work: PlanWork, recording: Recording) -> bool:
    """Leave what the archive has already, when the job says so; say whether that was all."""
    if work.if_seen != IfSeen.SKIP or recording.state != RecordingState.PLANNED:
        return False
    with context.database.write() as session:
        return skip_if_seen(session, lease.claim, work, recording)


class SourceGone(Exception):
    """A recording's timeline was dropped, and its object is not there in that version any more."""

    code = "source_gone"
    retryable = False


def _decode_again(context: WorkerContext, lease: Lease, work: PlanWork, recording: Recording) -> PlanFacts:
    """Decode a recording whose timeline was dropped; raises ``SourceGone``."""
    with private_folder(context.scratch_dir, lease.claim) as folder:
        path, sha256 = _fetch_again(context, lease, work, recording, folder)
        return _decode(context, lease, work, path, sha256, recording.id)


def _fetch_again(
    context: WorkerContext, lease: Lease, work: PlanWork, recording: Recording, folder: Path
) -> tuple[Path, str]:
    """Fetch the object of a recording, else the job's own one where it was taken for the same by its bytes."""
    try:
        return _fetch(context, lease, _find_again(context, lease, recording), folder)
    except (SourceGone, InputArchived, InputWrongRegion) as error:
        if work.identity != Identity.CONTENT:
            raise
        gone = SourceGone(f"{error}; nor are its bytes at {work.uri} any more")
    try:
        own = context.store.head(_location(context, lease, work.uri))
        path, sha256 = _fetch(context, lease, own, folder)
    except (InputNotFound, InputAccessDenied) as error:
        raise gone from error
    if sha256 != recording.content_sha256:
        raise gone
    return path, sha256


def _find_again(context: WorkerContext, lease: Lease, recording: Recording) -> ObjectInfo:
    """Find the object of a recording whose timeline was dropped; raises ``SourceGone``."""
    dropped = f"the timeline of recording {recording.id} was dropped after its time"
    try:
        found = context.store.head(_location(context, lease, recording.uri))
    except (InputNotFound, InputAccessDenied) as error:
        raise SourceGone(f"{dropped}, and its source cannot be had any more: {error}") from error
    if found.version != recording.version:
        raise SourceGone(
            f"{dropped}, and {recording.uri} has changed since: submit it, which makes a new recording"
        )
    return found


def _location(context: WorkerContext, lease: Lease, uri: str) -> str:
    return resolve_source(uri, lease.claim.tenant, context.settings.resolved_storage_url)


def timeline_name(storage_url: str, claim: Claim, recording_id: str) -> str:
    """Return a name for a timeline that no other attempt uses: a stale worker can leave garbage, and never overwrite.

    The epoch says whose it is, the id keeps two writers of one epoch apart.
    """
    return join(storage_url, "timelines", claim.tenant, recording_id, f"{claim.epoch}-{new_id()}.pcm")


def _store(context: WorkerContext, lease: Lease, recording_id: str, facts: PlanFacts | None) -> None:
    stored: PlanStored | None = None
    try:
        with context.database.write() as session:
            stored = complete_plan(session, lease.claim, recording_id, facts, task_applies)
    finally:
        if facts is not None and (stored is None or not stored.used):
            context.store.delete(facts.timeline_uri)
    for model, count in stored.understand.items():
        context.doorbell.ring(PassKind.UNDERSTAND, model, count)
    if stored.finishes:
        context.doorbell.ring(PassKind.FINISH, count=stored.finishes)


def task_applies(task_name: str, options: Mapping[str, Any], speech_samples: int) -> bool:
    """Say whether a task has something to hear in a chunk with this much speech."""
    task = get_task(task_name)
    return task.applies(speech_samples, task.Options.model_validate(dict(options)))


def _decode(
    context: WorkerContext, lease: Lease, work: PlanWork, path: Path, sha256: str, recording_id: str
) -> PlanFacts:
    timeline_uri = timeline_name(context.settings.resolved_storage_url, lease.claim, recording_id)
    options = DecodeOptions(
        channels=Channels(work.channels), max_seconds=context.settings.max_recording_seconds
    )
    with path.open("rb") as file, context.store.writer(timeline_uri) as writer:
        ingested = ingest(file, writer.write, options, lambda _seconds: lease.check())
    return plan_facts(ingested, timeline_uri, sha256)


def _fetch(context: WorkerContext, lease: Lease, found: ObjectInfo, folder: Path) -> tuple[Path, str]:
    """Copy the object, in the version that was found, into the private folder; return where, and its SHA-256."""
    check_room(folder, found.size_bytes)
    path, digest = folder / "in.bin", hashlib.sha256()
    with path.open("wb") as file:
        for block in context.store.stream(found.uri, version=found.version):
            file.write(block)
            digest.update(block)
            lease.check()
    return path, digest.hexdigest()


def plan_facts(ingested: Ingested, timeline_uri: str, content_sha256: str | None = None) -> PlanFacts:
    """Return what is stored of an ingested recording."""
    media, timeline = ingested.media, ingested.timeline
    declared = media.declared_seconds
    return PlanFacts(
        container=media.container.split(",")[0],
        codec=media.codec,
        sampling_rate=media.sampling_rate,
        source_channels=media.channels,
        channel_count=timeline.channel_count,
        duration_samples=timeline.samples,
        duration_ms=timeline.duration_ms,
        declared_ms=None if declared is None else round(declared * 1000),
        speech_ms=to_ms(ingested.speech_samples),
        truncated=ingested.truncated,
        timeline_uri=timeline_uri,
        timeline_sha256=timeline.sha256,
        content_sha256=content_sha256,
        warnings=[str(warning) for warning in ingested.warnings],
        chunks=[
            NewChunk(
                channel=channel,
                index=span.index,
                owned_start=span.owned_start,
                owned_end=span.owned_end,
                heard_start=span.heard_start,
                heard_end=span.heard_end,
                speech=span.speech,
            )
            for channel, spans in enumerate(ingested.chunks)
            for span in spans
        ],
    )
