"""Show recordings and what was found on them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, field_validator

from api.inputs import refusal
from api.pages import FindingsQuery, Id, Page, make_page
from api.problems import Problem
from api.recording_views import (
    AnnotationView,
    RecordingView,
    SegmentView,
    SummaryView,
    show_annotation,
    show_recording,
    show_segment,
    show_summary,
)
from api.services import Wired
from api.tenancy import Tenant
from db import queries
from pipeline.tasks import TASKS, get_task
from pipeline.tasks.task import UnknownTask

_ABSENT: dict[int | str, dict[str, Any]] = {
    404: {"model": Problem, "description": "There is no such recording."}
}

router = APIRouter(prefix="/v1/recordings", tags=["recordings"], responses=_ABSENT)


class AnnotationsQuery(FindingsQuery):
    """How to page through annotations."""

    task: str | None = Field(
        None,
        description="Only what this task found.",
        examples=["caption"],
        json_schema_extra={"enum": list(TASKS)},
    )

    @field_validator("task")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        try:
            return None if value is None else get_task(value).name
        except UnknownTask as error:
            raise refusal(error.code, str(error)) from None


@router.get("/{recording_id}", summary="Read a recording")
def get_recording(recording_id: Id, services: Wired, tenant: Tenant) -> RecordingView:
    """Return what is known of a recording: format, length, speech, warnings."""
    with services.database.read(tenant) as session:
        return show_recording(queries.get_recording(session, tenant, recording_id))


@router.get("/{recording_id}/summaries", summary="List summaries")
def list_summaries(recording_id: Id, services: Wired, tenant: Tenant) -> Page[SummaryView]:
    """List what each request found, said of the whole recording. There are few: it is always one page."""
    with services.database.read(tenant) as session:
        queries.get_recording(session, tenant, recording_id)
        rows = queries.list_summaries(session, tenant, recording_id)
        return Page(items=[show_summary(row) for row in rows], next=None)


@router.get("/{recording_id}/segments", summary="List segments")
def list_segments(
    recording_id: Id, query: Annotated[FindingsQuery, Query()], services: Wired, tenant: Tenant
) -> Page[SegmentView]:
    """List the utterances of a recording's transcripts, by request and in their order."""
    with services.database.read(tenant) as session:
        queries.get_recording(session, tenant, recording_id)
        rows = queries.list_segments(
            session,
            tenant,
            recording_id,
            request_id=query.request,
            after=query.after,
            limit=query.limit + 1,
        )
    return make_page(rows, query.limit, show_segment, lambda segment: segment.id)


@router.get("/{recording_id}/annotations", summary="List annotations")
def list_annotations(
    recording_id: Id, query: Annotated[AnnotationsQuery, Query()], services: Wired, tenant: Tenant
) -> Page[AnnotationView]:
    """List everything else that was found on a recording, by request and in its order."""
    with services.database.read(tenant) as session:
        queries.get_recording(session, tenant, recording_id)
        rows = queries.list_annotations(
            session,
            tenant,
            recording_id,
            task=query.task,
            request_id=query.request,
            after=query.after,
            limit=query.limit + 1,
        )
    return make_page(rows, query.limit, show_annotation, lambda annotation: annotation.id)
