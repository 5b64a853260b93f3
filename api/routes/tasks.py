"""List what can be asked of audio."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from api.asked_tasks import EXAMPLES
from api.pages import Page
from pipeline.tasks import TASKS

router = APIRouter(tags=["tasks"])


class TaskView(BaseModel):
    """A kind of finding."""

    name: str = Field(description="What a job calls it.", examples=["caption"])
    title: str = Field(description="What people call it.", examples=["Caption"])
    description: str = Field(description="What it finds.")
    is_experimental: bool = Field(
        description="Whether its prompt is our guess: the tag exists, none was published."
    )
    model: str = Field(description="The checkpoint it needs: base or chat.", examples=["base"])
    cost: str = Field(description="What it costs beside the audio, which all tasks of a chunk share.")
    heard: str = Field(description="Where it is asked.", examples=["chunks with speech"])
    view: str = Field(description="The table or view that shows what it finds.", examples=["captions"])
    limits: dict[str, int] = Field(
        description="The most that may be asked for, and the most that it answers.",
        examples=[{"answer_tokens": 64}],
    )
    options: dict[str, Any] = Field(description="JSON Schema of its options, with their defaults.")
    example: dict[str, Any] = Field(description="How to ask it in a job.", examples=[EXAMPLES["caption"]])


@router.get("/v1/tasks", summary="List tasks")
def list_tasks() -> Page[TaskView]:
    """List the tasks with their options. There are few: it is always one page."""
    shown = [
        TaskView(
            name=name,
            title=task.title,
            description=task.description,
            is_experimental=task.is_experimental,
            model=task.model_kind,
            cost=task.cost,
            heard=task.heard,
            view=task.view,
            limits=dict(task.limits),
            options=task.Options.model_json_schema(),
            example=EXAMPLES[name],
        )
        for name, task in TASKS.items()
    ]
    return Page(items=shown, next=None)
