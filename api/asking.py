"""Turn the tasks that a client names into requests, each to the model that answers it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api.asked_tasks import AskedTask
from api.problems import InvalidField
from db import queries
from db.states import RecordingState
from db.submitting import NewRequest
from pipeline.tasks import get_task
from pipeline.tasks.requests import request_key
from pipeline.tasks.task import ModelKind
from settings import Settings


def new_requests(tasks: Sequence[AskedTask], settings: Settings) -> list[NewRequest]:
    """Return what tasks ask, each of the model that answers it; raises ``InvalidField``."""
    return [_new_request(asked, _model_for(asked, place, settings)) for place, asked in enumerate(tasks)]


def _model_for(asked: AskedTask, place: int, settings: Settings) -> str:
    """Return the name of the model that answers; raises ``InvalidField`` where this service has none."""
    task = get_task(asked.task)
    if task.model_for(task.Options.model_validate(asked.options)) is ModelKind.BASE:
        return settings.model
    if not settings.chat_model:
        raise InvalidField(
            f"tasks[{place}]",
            "this needs a Qwen-Audio-Chat checkpoint, and the service has none: set EARWITNESS_CHAT_MODEL",
        )
    return settings.chat_model


def check_references(session: Session, tenant: str, tasks: Sequence[AskedTask]) -> None:
    """Refuse recordings to compare with that the tenant does not have; raises ``InvalidField``."""
    for place, asked in enumerate(tasks):
        task = get_task(asked.task)
        for recording_id in task.references(task.Options.model_validate(asked.options)):
            try:
                found = queries.get_recording(session, tenant, recording_id)
            except queries.NotFound as error:
                raise InvalidField(f"tasks[{place}].options.references", str(error)) from None
            if found.state != RecordingState.PLANNED:
                fact = f"recording {recording_id} has not been decoded: wait for its job"
                raise InvalidField(f"tasks[{place}].options.references", fact)


def _new_request(asked: AskedTask, model: str) -> NewRequest:
    return NewRequest(
        key=request_key(asked.task, asked.options, model),
        task=asked.task,
        options=asked.options,
        model=model,
        prompt_version=get_task(asked.task).prompt_version,
    )
