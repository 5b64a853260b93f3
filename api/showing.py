"""Show a job as it stands now: what it asked, how far it is, and what it waits for."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.job_views import JobDetail, show_job
from api.served import warnings_about
from api.services import Services
from db import queries
from db.states import FINAL_JOB_STATES
from db.tables import Job


def job_as_it_stands(session: Session, services: Services, job: Job) -> JobDetail:
    """Return all that there is to say of a job; asks the database for what its row does not hold."""
    requests = queries.list_requests(session, job.tenant, job.id)
    sources = queries.list_sources(session, job.tenant, job.id)
    waits = job.state not in FINAL_JOB_STATES
    warnings = warnings_about(session, services.served, requests) if waits else []
    return show_job(job, requests, queries.job_progress(session, job), sources, warnings)
