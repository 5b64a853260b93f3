"""Hand out one chunk's missing requests, and store their results exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, hold
from db.finishing import start_finishes
from db.statements import insert_missing
from db.states import RequestState
from db.tables import Chunk, Recording, RecordingRequest, Request, Result
from db.types import new_id


@dataclass(frozen=True)
class AskedRequest:
    """One request of a pass."""

    id: str
    task: str
    options: Mapping[str, Any]
    prompt_version: int


@dataclass(frozen=True)
class UnderstandWork:
    """What one pass hears and is asked; spans in samples of the timeline."""

    timeline_uri: str
    channel_count: int
    channel: int
    owned_start: int
    owned_end: int
    heard_start: int
    heard_end: int
    speech: Sequence[tuple[int, int]]  # inside the owned span
    requests: tuple[AskedRequest, ...]


class ReferenceUnavailable(Exception):
    """A recording that others are compared with is gone, or was never decoded."""

    code = "reference_unavailable"
    retryable = False


@dataclass(frozen=True)
class NewResult:
    """The answer to one request."""

    request_id: str
    raw_text: str
    parsed: Mapping[str, Any]
    flags: Sequence[str]
    finish_reason: str
    avg_logprob: float | None
    tokens: int
    model: str
    model_revision: str
    prompt_version: int
    numbers: Mapping[str, Any] = field(default_factory=dict)


def load_understand(session: Session, claim: Claim) -> UnderstandWork:
    """Read the chunk of an understand pass and the requests that have no result yet."""
    chunk, uri, channel_count = session.execute(
        select(Chunk, Recording.timeline_uri, Recording.channel_count)
        .join(Recording, Recording.id == Chunk.recording_id)
        .where(Chunk.id == claim.chunk_id, Chunk.tenant == claim.tenant)
    ).one()
    if uri is None or channel_count is None:
        raise ValueError(f"recording {chunk.recording_id} has open passes but no timeline")
    answered = select(Result.request_id).where(Result.chunk_id == chunk.id)
    requests = session.scalars(
        select(Request)
        .where(Request.id.in_(claim.request_ids), Request.id.not_in(answered))
        .order_by(Request.id)
    ).all()
    asked = tuple(AskedRequest(r.id, r.task, r.options, r.prompt_version) for r in requests)
    return _work(chunk, uri, channel_count, requests=asked)


def load_reference(session: Session, tenant: str, recording_id: str) -> UnderstandWork:
    """Read where the first chunk of a recording lies, as work without requests; raises ``ReferenceUnavailable``."""
    found = session.execute(
        select(Chunk, Recording.timeline_uri, Recording.channel_count)
        .join(Recording, Recording.id == Chunk.recording_id)
        .where(Recording.id == recording_id, Recording.tenant == tenant)
        .order_by(Chunk.index, Chunk.channel)
        .limit(1)
    ).first()
    if found is not None and found.timeline_uri is None:
        raise ReferenceUnavailable(
            f"the timeline of recording {recording_id} to compare with was dropped: "
            "ask one more task of it, which makes it again"
        )
    if found is None or found.channel_count is None:
        raise ReferenceUnavailable(f"recording {recording_id} to compare with is not there: submit it first")
    return _work(found.Chunk, found.timeline_uri, found.channel_count, requests=())


def _work(
    chunk: Chunk, uri: str, channel_count: int, *, requests: tuple[AskedRequest, ...]
) -> UnderstandWork:
    return UnderstandWork(
        timeline_uri=uri,
        channel_count=channel_count,
        channel=chunk.channel,
        owned_start=chunk.owned_start,
        owned_end=chunk.owned_end,
        heard_start=chunk.heard_start,
        heard_end=chunk.heard_end,
        speech=tuple((start, end) for start, end in chunk.speech),
        requests=requests,
    )


def complete_understand(session: Session, claim: Claim, results: Sequence[NewResult]) -> int:
    """Store a pass's results and close it, if this claim still holds its lease; return the finishes that became ready.

    Raises ``LeaseLost`` when a later claim owns the pass and ``JobCancelled`` when a cancel has committed: the
    caller drops its work.
    """
    claim = hold(session, claim)
    for result in results:
        if result.request_id not in claim.request_ids:
            continue  # its job was cancelled, and the job that the pass was handed on to did not ask it
        insert_missing(
            session,
            Result,
            {
                **vars(result),
                "parsed": dict(result.parsed),
                "flags": list(result.flags),
                "numbers": dict(result.numbers),
                "id": new_id(),
                "tenant": claim.tenant,
                "recording_id": claim.recording_id,
                "chunk_id": claim.chunk_id,
                "pass_id": claim.pass_id,
                "epoch": claim.epoch,
            },
        )
    return count_chunk(session, claim, failed=False)


def count_chunk(session: Session, claim: Claim, *, failed: bool) -> int:
    """Count a chunk that nobody will work on again, once for each request of its pass; the last starts the finish.

    Returns how many finish passes became ready.
    """
    done = RecordingRequest.chunks_done + int(not failed)
    lost = RecordingRequest.chunks_failed + int(failed)
    heard_all = False
    for request_id in sorted(claim.request_ids):  # one order for everybody: no deadlock
        state = session.scalars(
            update(RecordingRequest)
            .where(
                RecordingRequest.recording_id == claim.recording_id,
                RecordingRequest.request_id == request_id,
            )
            .values(
                chunks_done=done,
                chunks_failed=lost,
                state=case(
                    (done + lost >= RecordingRequest.chunks_total, RequestState.HEARD),
                    else_=RecordingRequest.state,
                ),
            )
            .returning(RecordingRequest.state)
            .execution_options(synchronize_session=False)
        ).one()
        heard_all |= state == RequestState.HEARD
    if not heard_all or claim.recording_id is None:
        return 0
    # The recording's lock makes two passes that end at once take turns: the second sees what the first did.
    session.execute(
        select(Recording.id).where(Recording.id == claim.recording_id).with_for_update(key_share=True)
    )
    return start_finishes(session, claim.recording_id, actor=claim.worker)
