"""Make jobs, plans and results for tests without audio or a model."""

from __future__ import annotations

from typing import Any

from db.claiming import claim_passes
from db.claims import Claim
from db.database import Database
from db.planning import NewChunk, PlanFacts, PlanStored, complete_plan, load_plan
from db.registering import register_recording
from db.states import PassKind
from db.submitting import NewJob, NewRequest, submit_job
from db.suspects import claim_suspect, reserve_suspect
from db.understanding import NewResult

TENANT = "default"
MODEL = "tiny"
LEASE = 30.0


def request(task: str = "transcribe", **options: Any) -> NewRequest:
    return NewRequest(
        key=f"{task}:{sorted(options.items())}", task=task, options=options, model=MODEL, prompt_version=1
    )


def submit(
    database: Database, *requests: NewRequest, uris: tuple[str, ...] = ("s3://b/a.wav",), **more: Any
) -> str:
    """Submit a job and return its id."""
    with database.write() as session:
        tenant = more.pop("tenant", TENANT)
        new = NewJob(tenant, uris, requests or (request(),), more.pop("channels", "mix"), **more)
        return submit_job(session, new).id


def claim(database: Database, kind: PassKind, *, worker: str = "w1", lease: float = LEASE) -> Claim | None:
    """Claim the most urgent pass of a kind, else a suspect, as a worker that holds nothing; None when there is none."""
    model = MODEL if kind == PassKind.UNDERSTAND else ""
    with database.write() as session:
        found = claim_passes(session, kind, worker, model=model, lease_seconds=lease)
        if found:
            return found[0]
        suspect = reserve_suspect(session, kind, model=model, seconds=lease)
        return suspect and claim_suspect(session, suspect, worker, lease_seconds=lease)


def facts(chunks: int = 2, *, truncated: bool = False, speech: bool = True) -> PlanFacts:
    """Return a plan of equal chunks of one second."""
    one = 16_000
    return PlanFacts(
        container="wav",
        codec="pcm_s16le",
        sampling_rate=16_000,
        source_channels=1,
        channel_count=1,
        duration_samples=chunks * one,
        duration_ms=chunks * 1000,
        declared_ms=chunks * 1000,
        speech_ms=chunks * 1000 if speech else 0,
        truncated=truncated,
        timeline_uri="file:///timeline.pcm",
        timeline_sha256="0" * 64,
        warnings=["truncated: declared 3.0 decoded 1.4"] if truncated else [],
        chunks=[
            NewChunk(
                0,
                i,
                i * one,
                (i + 1) * one,
                i * one,
                (i + 1) * one,
                [(i * one, (i + 1) * one)] if speech else [],
            )
            for i in range(chunks)
        ],
    )


def plan(database: Database, found: Claim, plan_facts: PlanFacts | None, version: str = "v1") -> PlanStored:
    """Register the recording and complete its plan; tasks apply where there is speech, captions everywhere."""
    with database.write() as session:
        recording = register_recording(session, found, load_plan(session, found), version, 100)
    with database.write() as session:
        return complete_plan(
            session, found, recording.id, plan_facts, lambda task, _, speech: task == "caption" or speech > 0
        )


def results(found: Claim) -> list[NewResult]:
    """Return one answer for each request of a claim."""
    return [
        NewResult(
            request_id=request_id,
            raw_text="hello",
            parsed={"text": "hello", "flags": []},
            flags=[],
            finish_reason="stop",
            avg_logprob=-0.1,
            tokens=2,
            model=MODEL,
            model_revision="r1",
            prompt_version=1,
        )
        for request_id in found.request_ids
    ]
