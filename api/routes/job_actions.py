"""Cancel, retry and delete jobs, and ask more about what they heard."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, field_validator
from sqlalchemy.orm import Session

from api.asked_tasks import EXAMPLES, AskedTask
from api.asking import check_references, new_requests
from api.idempotency import Once, OnceOnly
from api.inputs import Input
from api.job_views import JobDetail
from api.pages import Id
from api.problems import Problem
from api.routes.jobs import ABSENT, CROWDED
from api.services import Services, Wired
from api.showing import job_as_it_stands
from api.submissions import MAX_TASKS, refuse_twice
from api.tenancy import Tenant
from db.announcing import announced
from db.cancelling import cancel_job as cancel
from db.deleting import delete_job as delete
from db.retrying import ask_more
from db.retrying import retry_job as retry
from db.states import PassKind
from db.tables import Job

ACTOR = "api"

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

_CONFLICT: dict[int | str, dict[str, Any]] = {
    **ABSENT,
    409: {"model": Problem, "description": "The job is not in the state for that: see `code`."},
}
_ACCEPTED: dict[int | str, dict[str, Any]] = {
    202: {
        "headers": {
            "Location": {"description": "Where the new job can be read.", "schema": {"type": "string"}}
        }
    },
    **_CONFLICT,
    **CROWDED,
}


class Retry(Input):
    """What to try again."""

    cancelled: bool = Field(False, description="Also what a cancel cut off: recordings, and listings.")


class MoreTasks(Input):
    """What else to find out about the recordings of a job."""

    model_config = ConfigDict(
        strict=True, json_schema_extra={"examples": [{"tasks": [EXAMPLES["caption"], "emotion"]}]}
    )

    tasks: list[AskedTask] = Field(
        min_length=1, max_length=MAX_TASKS, description="What to find out about each of them; see /v1/tasks."
    )

    @field_validator("tasks")
    @classmethod
    def _none_twice(cls, tasks: list[AskedTask]) -> list[AskedTask]:
        return refuse_twice(tasks)


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=_CONFLICT, response_model=JobDetail)
def cancel_job(job_id: Id, services: Wired, tenant: Tenant, once: OnceOnly) -> JobDetail | Response:
    """Cancel a job. From this answer on nothing is added for it; workers stop within two seconds.

    What other jobs wait for goes on as theirs. Cancelling twice is the same as once; a job that has ended otherwise
    answers 409. Recordings are counted as cancelled at once, those of a large job within some seconds.
    """
    with once.transaction() as session:
        if once.answer is not None:
            return once.answer
        job = cancel(session, tenant, job_id, actor=ACTOR)
        shown = _show(session, services, job)
        once.keep(session, 200, shown)
    services.ring(PassKind.RETIRE, 1)
    services.ring(PassKind.DELIVER, announced(session))
    return shown


@router.post(
    "/{job_id}/retry",
    status_code=202,
    summary="Retry what failed",
    responses=_ACCEPTED,
    response_model=JobDetail,
)
def retry_job(
    job_id: Id,
    response: Response,
    services: Wired,
    tenant: Tenant,
    once: OnceOnly,
    body: Retry | None = None,
) -> JobDetail | Response:
    """Make a job of what failed in this one; what it has is reused, only chunks without an answer run again."""
    with once.transaction() as session:
        if once.answer is not None:
            return once.answer
        asked = Retry() if body is None else body
        ttl_hours = services.settings.job_ttl_hours or None
        job = retry(session, tenant, job_id, cancelled=asked.cancelled, ttl_hours=ttl_hours, actor=ACTOR)
        shown = _admitted(session, services, job, once)
    return _accepted(session, services, response, shown)


@router.post(
    "/{job_id}/tasks",
    status_code=202,
    summary="Ask more",
    responses=_ACCEPTED,
    response_model=JobDetail,
)
def ask_job(
    job_id: Id, body: MoreTasks, response: Response, services: Wired, tenant: Tenant, once: OnceOnly
) -> JobDetail | Response:
    """Make a job that asks more about the recordings of this one; only what was never answered runs."""
    requests = new_requests(body.tasks, services.settings)
    with once.transaction() as session:
        if once.answer is not None:
            return once.answer
        check_references(session, tenant, body.tasks)
        ttl_hours = services.settings.job_ttl_hours or None
        job = ask_more(session, tenant, job_id, requests, ttl_hours=ttl_hours, actor=ACTOR)
        shown = _admitted(session, services, job, once)
    return _accepted(session, services, response, shown)


@router.delete("/{job_id}", status_code=202, summary="Delete a job", responses=ABSENT)
def delete_job(job_id: Id, services: Wired, tenant: Tenant) -> None:
    """Delete a job with its rows, timelines and uploads that no other job links to; cancelled if it still runs.

    From this answer on it is not found; what it holds goes within some seconds. An event `job.deleted` stays.
    """
    with services.database.write(tenant) as session:
        delete(session, tenant, job_id, actor=ACTOR)
    services.ring(PassKind.RETIRE, 1)


def _admitted(session: Session, services: Services, job: Job, once: Once) -> JobDetail:
    """Show a job that was made of another, once there is room for it, and keep the answer."""
    settings = services.settings
    services.admission.admit(
        session,
        job.tenant,
        job.recordings_total,
        own=settings.max_queued,
        total=settings.max_queued_total,
        stored=True,
    )
    shown = _show(session, services, job)
    once.keep(session, 202, shown, job_id=job.id)
    return shown


def _accepted(session: Session, services: Services, response: Response, shown: JobDetail) -> JobDetail:
    services.ring(PassKind.PLAN, shown.recordings.total)
    services.ring(PassKind.EXPAND, shown.sources_open)
    services.ring(PassKind.DELIVER, announced(session))
    response.headers["Location"] = f"/v1/jobs/{shown.id}"
    return shown


def _show(session: Session, services: Services, job: Job) -> JobDetail:
    session.flush()
    session.refresh(job)
    return job_as_it_stands(session, services, job)
