"""Hand out one chunk's missing requests, and store their results exactly once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import case, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, hold_all
from db.finishing import start_finishes
from db.statements import insert_all_missing
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
    """Read the chunk of an understand pass and the requests that have no result yet; see ``load_batch``."""
    [work] = load_batch(session, [claim])
    if isinstance(work, Exception):
        raise work
    return work


def load_batch(session: Session, claims: Sequence[Claim]) -> list[UnderstandWork | Exception]:
    """Read what many understand passes hear and are asked; a pass whose chunk is gone gets the reason instead."""
    chunk_ids = {claim.chunk_id for claim in claims}
    places = {
        row.Chunk.id: row
        for row in session.execute(
            select(Chunk, Recording.timeline_uri, Recording.channel_count)
            .join(Recording, Recording.id == Chunk.recording_id)
            .where(Chunk.id.in_(chunk_ids))
        )
    }
    request_ids = {request_id for claim in claims for request_id in claim.request_ids}
    requests = session.scalars(select(Request).where(Request.id.in_(request_ids)).order_by(Request.id)).all()
    found = session.execute(select(Result.chunk_id, Result.request_id).where(Result.chunk_id.in_(chunk_ids)))
    answered = {(chunk_id, request_id) for chunk_id, request_id in found}
    return [_work_of(claim, places.get(claim.chunk_id), requests, answered) for claim in claims]


def _work_of(
    claim: Claim, place: Any, requests: Sequence[Request], answered: Set[tuple[str, str]]
) -> UnderstandWork | Exception:
    if place is None or place.Chunk.tenant != claim.tenant:
        return ValueError(f"pass {claim.pass_id} is of a chunk that is not there")
    if place.timeline_uri is None or place.channel_count is None:
        return ValueError(f"recording {place.Chunk.recording_id} has chunks but no timeline")
    asked = tuple(
        AskedRequest(r.id, r.task, r.options, r.prompt_version)
        for r in requests
        if r.id in claim.request_ids and (claim.chunk_id, r.id) not in answered
    )
    return _work(place.Chunk, place.timeline_uri, place.channel_count, requests=asked)


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


@dataclass(frozen=True)
class Understood:
    """A pass that has been heard, with what was understood."""

    claim: Claim
    results: Sequence[NewResult]


def complete_understand(session: Session, claim: Claim, results: Sequence[NewResult]) -> int:
    """Store a pass's results and close it, if this claim still holds its lease; return the finishes that became ready.

    Raises ``LeaseLost`` when a later claim owns the pass and ``JobCancelled`` when a cancel has committed: the
    caller drops its work.
    """
    [stored] = complete_batch(session, [Understood(claim, results)])
    if isinstance(stored, Exception):
        raise stored
    return stored


def complete_batch(session: Session, heard: Sequence[Understood]) -> list[int | Exception]:
    """Store the results of many passes and close those whose claims still hold, all in one transaction.

    Returns for each how many finishes became ready with it (all are counted at the first one), or why it was refused.
    What a job asked that was cancelled meanwhile is left out where the pass was handed on to another.
    """
    held = hold_all(session, [one.claim for one in heard])
    rows = [
        _row(claim, result)
        for claim, one in zip(held, heard, strict=True)
        if isinstance(claim, Claim)
        for result in one.results
        if result.request_id in claim.request_ids
    ]
    insert_all_missing(session, Result, rows)
    left = count_chunks(session, [claim for claim in held if isinstance(claim, Claim)], failed=False)
    answers: list[int | Exception] = []
    for claim in held:
        answers.append(left if isinstance(claim, Claim) else claim)
        left = 0 if isinstance(claim, Claim) else left
    return answers


def _row(claim: Claim, result: NewResult) -> dict[str, Any]:
    return {
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
    }


def count_chunk(session: Session, claim: Claim, *, failed: bool) -> int:
    """Count a chunk that nobody will work on again; see ``count_chunks``."""
    return count_chunks(session, [claim], failed=failed)


def count_chunks(session: Session, claims: Sequence[Claim], *, failed: bool) -> int:
    """Count chunks that nobody will work on again, each once for every request of its pass; the last starts the finish.

    Returns how many finish passes became ready.
    """
    counts = Counter(
        (claim.recording_id, request_id)
        for claim in claims
        if claim.recording_id is not None
        for request_id in claim.request_ids
    )
    heard_all: set[str] = set()
    for recording_id, request_id in sorted(counts):  # one order for everybody: no deadlock
        chunks = counts[recording_id, request_id]
        done = RecordingRequest.chunks_done + (0 if failed else chunks)
        lost = RecordingRequest.chunks_failed + (chunks if failed else 0)
        state = session.scalars(
            update(RecordingRequest)
            .where(
                RecordingRequest.recording_id == recording_id,
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
        if state == RequestState.HEARD:
            heard_all.add(recording_id)
    finishes = 0
    for recording_id in sorted(heard_all):
        # The recording's lock makes two passes that end at once take turns: the second sees what the first did.
        session.execute(
            select(Recording.id).where(Recording.id == recording_id).with_for_update(key_share=True)
        )
        finishes += start_finishes(session, recording_id, actor=claims[0].worker)
    return finishes
