"""Accept a job: its rows, its requests and its ready plan passes, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_event
from db.statements import insert_missing, insert_rows
from db.states import PassKind
from db.tables import Job, JobRecording, JobRequest, Pass, Request
from db.types import new_id


@dataclass(frozen=True)
class NewRequest:
    """A task with normalised options; ``key`` is equal for equal questions to the same model."""

    key: str
    task: str
    options: Mapping[str, Any]
    model: str
    prompt_version: int


@dataclass(frozen=True)
class NewJob:
    """A submission that has been checked: at least one source and one request, no request twice."""

    tenant: str
    uris: Sequence[str]
    requests: Sequence[NewRequest]
    channels: str
    client_metadata: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    ttl_hours: float | None = None  # from now on; then it is deleted with all that no other job links to

    def __post_init__(self) -> None:
        if not self.uris or not self.requests:
            raise ValueError("a job needs at least one source and one task")
        if len({request.key for request in self.requests}) != len(self.requests):
            raise ValueError("the same task with the same options is asked twice")


def submit_job(session: Session, new: NewJob, *, actor: str = "api") -> Job:
    """Store the job with one ready plan pass for each source and return its row. The caller commits."""
    job = Job(
        id=new_id(),
        tenant=new.tenant,
        channels=new.channels,
        priority=new.priority,
        client_metadata=dict(new.client_metadata),
        recordings_total=len(new.uris),
        expires_at=None if new.ttl_hours is None else database_now(new.ttl_hours * 3600),
    )
    session.add(job)
    session.flush()
    request_ids = request_ids_of(session, new.tenant, new.requests)
    insert_rows(
        session,
        JobRequest,
        [
            {"job_id": job.id, "request_id": request_id, "tenant": new.tenant, "position": position}
            for position, request_id in enumerate(request_ids)
        ],
    )
    links = [
        {"id": new_id(), "tenant": new.tenant, "job_id": job.id, "position": position, "uri": uri}
        for position, uri in enumerate(new.uris)
    ]
    insert_rows(session, JobRecording, links)
    insert_rows(
        session,
        Pass,
        [
            {
                "id": new_id(),
                "tenant": new.tenant,
                "kind": PassKind.PLAN,
                "job_id": job.id,
                "job_recording_id": link["id"],
                "priority": new.priority,
            }
            for link in links
        ],
    )
    record_event(
        session,
        "job.accepted",
        tenant=new.tenant,
        job_id=job.id,
        actor=actor,
        data={"recordings": len(new.uris), "tasks": [request.task for request in new.requests]},
    )
    return job


def request_ids_of(session: Session, tenant: str, requests: Sequence[NewRequest]) -> list[str]:
    """Return the ids of requests, made where nobody of the tenant has asked them before."""
    return [_request_id(session, tenant, request) for request in requests]


def _request_id(session: Session, tenant: str, request: NewRequest) -> str:
    insert_missing(
        session,
        Request,
        {
            "id": new_id(),
            "tenant": tenant,
            "key": request.key,
            "task": request.task,
            "options": dict(request.options),
            "model": request.model,
            "prompt_version": request.prompt_version,
        },
    )
    return session.scalars(
        select(Request.id).where(Request.tenant == tenant, Request.key == request.key)
    ).one()
