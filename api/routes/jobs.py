"""Accept jobs, and say how far they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import Field

from api.accepting import Asked
from api.asking import check_references, new_requests
from api.dry_run_views import DryRunView
from api.dry_runs import DryRun
from api.idempotency import Once, OnceOnly
from api.inputs import Input
from api.job_views import (
    AcceptedJob,
    JobDetail,
    JobRecordingView,
    JobSummary,
    SourceErrorView,
    show_job_recording,
    show_source_error,
    summarise_job,
)
from api.job_webhooks import checked_url
from api.pages import MAX_POSITION, Cursor, Id, Limit, Page, make_page
from api.problems import Problem
from api.served import NoWorker, models_missing, workers_not_ready
from api.services import Services, Wired
from api.showing import job_as_it_stands
from api.submissions import Source, Submission
from api.tenancy import Tenant
from db import queries
from db.links import NewLink
from db.states import Identity, IfSeen, JobState, LinkState, SourceKind
from db.submitting import NewJob, NewRequest, NewSource
from storage.manifests import ManifestLimits

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

ABSENT: dict[int | str, dict[str, Any]] = {404: {"model": Problem, "description": "There is no such job."}}
CROWDED: dict[int | str, dict[str, Any]] = {
    429: {"model": Problem, "description": "Too many recordings are waiting; see Retry-After."}
}
_ABSENT_SOURCE: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such source of such a job."}
}


class JobsQuery(Input):
    """How to page through jobs."""

    state: JobState | None = Field(None, description="Only jobs in this state.")
    limit: Limit
    after: Cursor


class SubmitQuery(Input):
    """How to submit."""

    dry_run: bool = Field(False, description="Store nothing and answer what the job would hear.")


class SourceErrorsQuery(Input):
    """How to page through the lines that a manifest lost."""

    limit: Limit
    after: int | None = Field(None, ge=0, le=MAX_POSITION, description="The `next` of the page before.")


class JobRecordingsQuery(Input):
    """How to page through a job's recordings."""

    state: list[LinkState] = Field(
        [], max_length=len(LinkState), description="Only those in this state; may be repeated."
    )
    limit: Limit
    after: int | None = Field(None, ge=0, le=MAX_POSITION, description="The `next` of the page before.")


@router.post(
    "",
    status_code=202,
    summary="Submit a job",
    responses={
        200: {"model": DryRunView, "description": "What the job would hear: a dry run."},
        202: {
            "model": AcceptedJob,
            "headers": {
                "Location": {"description": "Where the job can be read.", "schema": {"type": "string"}}
            },
        },
        413: {"model": Problem, "description": "The body is larger than 1 MiB."},
        429: {
            "model": Problem,
            "description": "Too many recordings wait, or dry runs are under way; see Retry-After.",
        },
    },
    response_model=AcceptedJob | DryRunView,
)
async def create_job(
    submission: Submission,
    query: Annotated[SubmitQuery, Query()],
    response: Response,
    services: Wired,
    tenant: Tenant,
    once: OnceOnly,
) -> AcceptedJob | DryRunView | Response:
    """Accept the job; the work begins at once and goes on when this request has ended.

    A dry run stores nothing and answers with status 200 what the job would hear.
    """
    if submission.dry_run or query.dry_run:
        response.status_code = 200
        return await services.at_storage(_try_out, submission, services, tenant)
    return await run_in_threadpool(_accept, submission, services, tenant, once)


@router.get("", summary="List jobs")
def list_jobs(query: Annotated[JobsQuery, Query()], services: Wired, tenant: Tenant) -> Page[JobSummary]:
    """List jobs, the newest first."""
    with services.database.read(tenant) as session:
        rows = queries.list_jobs(session, tenant, state=query.state, after=query.after, limit=query.limit + 1)
    return make_page(rows, query.limit, summarise_job, lambda job: job.id)


@router.get("/{job_id}", summary="Read a job", responses=ABSENT)
def get_job(job_id: Id, services: Wired, tenant: Tenant) -> JobDetail:
    """Return a job's state, what it asked, and how far it is in seconds of audio."""
    with services.database.read(tenant) as session:
        return job_as_it_stands(session, services, queries.get_job(session, tenant, job_id))


@router.get("/{job_id}/recordings", summary="List a job's recordings", responses=ABSENT)
def list_job_recordings(
    job_id: Id, query: Annotated[JobRecordingsQuery, Query()], services: Wired, tenant: Tenant
) -> Page[JobRecordingView]:
    """List the recordings of a job in their order, with their state, error and what they turned out to be."""
    with services.database.read(tenant) as session:
        queries.get_job(session, tenant, job_id)
        rows = queries.list_job_recordings(
            session, tenant, job_id, states=query.state, after=query.after, limit=query.limit + 1
        )
    return make_page(rows, query.limit, show_job_recording, lambda row: row[0].position)


@router.get(
    "/{job_id}/sources/{source_id}/errors", summary="List what a manifest lost", responses=_ABSENT_SOURCE
)
def list_source_errors(
    job_id: Id, source_id: Id, query: Annotated[SourceErrorsQuery, Query()], services: Wired, tenant: Tenant
) -> Page[SourceErrorView]:
    """List the lines of a manifest that could not be taken, in their order; the first thousand are kept."""
    with services.database.read(tenant) as session:
        rows = queries.list_source_errors(
            session, tenant, job_id, source_id, after=query.after, limit=query.limit + 1
        )
    return make_page(rows, query.limit, show_source_error, lambda row: row.line)


def _accept(submission: Submission, services: Services, tenant: str, once: Once) -> Response:
    requests = new_requests(submission.tasks, services.settings)
    new = NewJob(
        tenant=tenant,
        uris=[
            NewLink(source.uri, source.metadata, source.tracking)
            for source in submission.sources
            if source.uri is not None
        ],
        sources=[new_source for source in submission.sources if (new_source := _bulk(source)) is not None],
        requests=requests,
        channels=submission.channels,
        client_metadata=submission.metadata,
        priority=submission.priority,
        ttl_hours=submission.ttl_hours or services.settings.job_ttl_hours or None,
        tracking=submission.tracking,
        if_seen=IfSeen(submission.if_seen),
        identity=Identity(submission.identity),
    )
    with once.alone():
        return services.accepting.accept(services, Asked(new, submission, once))


def _checked(
    submission: Submission, requests: Sequence[NewRequest], services: Services, tenant: str
) -> list[str]:
    """Refuse what a job would be refused for, room for it apart, and return what it would be warned of."""
    if submission.webhook is not None:
        checked_url("webhook", submission.webhook, services.settings)
    with services.database.read(tenant) as session:
        check_references(session, tenant, submission.tasks)
        warnings = models_missing(session, services.served, requests)
        not_ready = workers_not_ready(session, services.served, requests)
    if warnings and submission.if_no_worker == "refuse":
        raise NoWorker("; ".join(warnings))
    return [*warnings, *not_ready]


def _try_out(submission: Submission, services: Services, tenant: str) -> DryRunView:
    settings = services.settings
    warnings = _checked(submission, new_requests(submission.tasks, settings), services, tenant)
    limits = ManifestLimits(settings.max_job_recordings, settings.max_manifest_bytes)
    dry = DryRun(services.store, settings.resolved_storage_url, tenant, limits, seed=random.getrandbits(32))
    with services.dry_runs.taken(tenant):
        return dry.run(submission.sources).model_copy(update={"warnings": warnings})


def _bulk(source: Source) -> NewSource | None:
    if source.prefix is not None:
        return NewSource(SourceKind.PREFIX, source.prefix, source.glob)
    return None if source.manifest is None else NewSource(SourceKind.MANIFEST, source.manifest)
