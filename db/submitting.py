"""Accept a job: its rows, its requests and its ready plan passes, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.clock import database_now
from db.events import record_events
from db.fairness import insert_ready
from db.links import NewLink, add_first_links
from db.statements import insert_missing, insert_rows
from db.states import Identity, IfSeen, PassKind, SourceKind
from db.tables import Job, JobRequest, JobSource, Request
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
class NewSource:
    """A prefix or a manifest that becomes recordings by and by; ``glob`` is of keys behind the prefix."""

    kind: SourceKind
    uri: str
    glob: str | None = None


@dataclass(frozen=True)
class NewJob:
    """A submission that has been checked: at least one source and one request, no request twice."""

    tenant: str
    uris: Sequence[str | NewLink]
    requests: Sequence[NewRequest]
    channels: str
    client_metadata: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    sources: Sequence[NewSource] = ()
    tracking: str | None = None
    if_seen: IfSeen = IfSeen.REUSE
    identity: Identity = Identity.VERSION
    ttl_hours: float | None = None  # from now on; then it is deleted with all that no other job links to
    webhook_id: str | None = None  # besides those that are told of all jobs

    def __post_init__(self) -> None:
        if not (self.uris or self.sources) or not self.requests:
            raise ValueError("a job needs at least one source and one task")
        if len({request.key for request in self.requests}) != len(self.requests):
            raise ValueError("the same task with the same options is asked twice")


@dataclass(frozen=True)
class Submitted:
    """A job that was stored, with what it asks in its order."""

    job: Job
    requests: Sequence[Request]


def submit_job(session: Session, new: NewJob, *, actor: str = "api") -> Job:
    """Store one job, see ``submit_jobs``; returns its row, the caller commits."""
    return submit_jobs(session, [new], actor=actor)[0].job


def submit_jobs(session: Session, new: Sequence[NewJob], *, actor: str = "api") -> list[Submitted]:
    """Store jobs of one tenant, with a ready plan pass for each object and an expand pass for each prefix and manifest.

    A statement costs nearly the same for one job and for many. The caller commits.
    """
    jobs = [_row(one) for one in new]
    session.add_all(jobs)
    session.flush()
    asked = _requests_of(session, jobs[0].tenant, [request for one in new for request in one.requests])
    submitted = [
        Submitted(job, [asked[request.key] for request in one.requests])
        for job, one in zip(jobs, new, strict=True)
    ]
    add_job_requests(session, [(one.job, [request.id for request in one.requests]) for one in submitted])
    links = [[NewLink(uri) if isinstance(uri, str) else uri for uri in one.uris] for one in new]
    add_first_links(session, list(zip(jobs, links, strict=True)))
    for job, one in zip(jobs, new, strict=True):
        _add_sources(session, job, one.sources)
    events = [_accepted(job, one) for job, one in zip(jobs, new, strict=True)]
    record_events(session, "job.accepted", events, actor=actor)
    return submitted


def _row(new: NewJob) -> Job:
    return Job(
        id=new_id(),
        tenant=new.tenant,
        channels=new.channels,
        priority=new.priority,
        client_metadata=dict(new.client_metadata),
        recordings_total=len(new.uris),
        sources_open=len(new.sources),
        tracking=new.tracking,
        if_seen=new.if_seen,
        identity=new.identity,
        expires_at=None if new.ttl_hours is None else database_now(new.ttl_hours * 3600),
        webhook_id=new.webhook_id,
    )


def _accepted(job: Job, new: NewJob) -> Mapping[str, Any]:
    data: dict[str, Any] = {
        "recordings": len(new.uris),
        "tasks": [request.task for request in new.requests],
    }
    if new.sources:
        data["sources"] = len(new.sources)
    return {"tenant": job.tenant, "job_id": job.id, "data": data}


def add_job_requests(session: Session, asked: Sequence[tuple[Job, Sequence[str]]]) -> None:
    """Say what jobs ask: the ids of their requests, in their order."""
    rows = [
        {"job_id": job.id, "request_id": request_id, "tenant": job.tenant, "position": position}
        for job, request_ids in asked
        for position, request_id in enumerate(request_ids)
    ]
    insert_rows(session, JobRequest, rows)


def _add_sources(session: Session, job: Job, sources: Sequence[NewSource]) -> None:
    rows = [
        {
            "id": new_id(),
            "tenant": job.tenant,
            "job_id": job.id,
            "position": position,
            "kind": source.kind,
            "uri": source.uri,
            "glob": source.glob,
        }
        for position, source in enumerate(sources)
    ]
    insert_rows(session, JobSource, rows)
    insert_ready(
        session,
        [
            {
                "tenant": job.tenant,
                "kind": PassKind.EXPAND,
                "job_id": job.id,
                "source_id": row["id"],
                "priority": job.priority,
            }
            for row in rows
        ],
    )


def request_ids_of(session: Session, tenant: str, requests: Sequence[NewRequest]) -> list[str]:
    """Return the ids of the requests in their order, after storing those that nobody of the tenant has asked before."""
    known = _requests_of(session, tenant, requests)
    return [known[request.key].id for request in requests]


def _requests_of(session: Session, tenant: str, requests: Sequence[NewRequest]) -> Mapping[str, Request]:
    """Return the rows of requests by key, after storing those that nobody of the tenant has asked before."""
    known = _known_requests(session, tenant, requests)
    missing = {request.key: request for request in requests if request.key not in known}
    for key in sorted(missing):  # in one order, so that two who store the same do not wait for each other
        request = missing[key]
        row = {**vars(request), "options": dict(request.options), "id": new_id(), "tenant": tenant}
        insert_missing(session, Request, row)
    return _known_requests(session, tenant, requests) if missing else known


def _known_requests(session: Session, tenant: str, requests: Sequence[NewRequest]) -> dict[str, Request]:
    keys = {request.key for request in requests}
    rows = session.scalars(select(Request).where(Request.tenant == tenant, Request.key.in_(keys)))
    return {row.key: row for row in rows}
