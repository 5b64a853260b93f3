"""Say which recordings, prefixes and manifests failed or are incomplete, and what to do about each."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from api.failure_advice import Retry, advise
from api.inputs import Input
from api.pages import Cursor, Id, Limit, Page, make_page
from api.problems import Problem
from api.services import Wired
from api.tenancy import Tenant
from db import queries
from db.failed_sources import list_failures
from db.states import LinkState, SourceKind
from db.tables import JobRecording, JobSource

router = APIRouter(tags=["jobs"])


class FailuresQuery(Input):
    """How to page through failures."""

    limit: Limit
    after: Cursor


class FailureView(BaseModel):
    """A recording of a job that failed or that something is missing of, or a prefix or manifest that failed."""

    id: str = Field(description="Id of this source of the job.")
    job_id: str = Field(description="The job.")
    kind: Literal["recording", "prefix", "manifest"] = Field(
        description="What failed: a recording, or a prefix or manifest, of which the job has what was found before."
    )
    position: int = Field(description="Its place in the job's sources, from 0.")
    uri: str = Field(
        description="The source as it was submitted.", examples=["s3://archive/1998/tape-17.flac"]
    )
    state: LinkState = Field(description="failed, or partial.")
    code: str = Field(description="Why, for programs; stable.", examples=["corrupt_container"])
    message: str = Field(description="Why, for people.")
    retry: Retry = Field(
        description="Whether trying again can help: helps (as it is), after_change (of what `action` names), no."
    )
    retry_helps: bool = Field(description="Whether trying again as it is can help.")
    action: str = Field(description="What to do.")
    finished_at: datetime | None = Field(description="When it ended.")


@router.get(
    "/v1/jobs/{job_id}/failures",
    summary="List what failed in a job",
    responses={404: {"model": Problem, "description": "There is no such job."}},
)
def list_job_failures(
    job_id: Id, query: Annotated[FailuresQuery, Query()], services: Wired, tenant: Tenant
) -> Page[FailureView]:
    """List what failed in a job or is incomplete, recordings, prefixes and manifests, each with what to do."""
    with services.database.read(tenant) as session:
        queries.get_job(session, tenant, job_id)
        rows = list_failures(session, tenant, job_id=job_id, after=query.after, limit=query.limit + 1)
    return make_page(rows, query.limit, show_failure, lambda row: row.id)


@router.get("/v1/failures", summary="List what failed")
def list_all_failures(
    query: Annotated[FailuresQuery, Query()], services: Wired, tenant: Tenant
) -> Page[FailureView]:
    """List what failed or is incomplete in all jobs, the newest source first, each with what to do."""
    with services.database.read(tenant) as session:
        rows = list_failures(session, tenant, after=query.after, limit=query.limit + 1)
    return make_page(rows, query.limit, show_failure, lambda row: row.id)


def show_failure(source: JobRecording | JobSource) -> FailureView:
    """Show one failure with the advice for its code."""
    advice = advise(source.error_code)
    return FailureView(
        id=source.id,
        job_id=source.job_id,
        kind="recording" if isinstance(source, JobRecording) else SourceKind(source.kind).value,
        position=source.position,
        uri=source.uri,
        state=LinkState(source.state),
        code=source.error_code or "unknown",
        message=source.error_message or "",
        retry=advice.retry,
        retry_helps=advice.retry is Retry.HELPS,
        action=advice.action,
        finished_at=source.finished_at,
    )
