"""Read one task of a submission, and show each task's options in OpenAPI."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import (
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from api.inputs import Input, refusal
from pipeline.tasks import TASKS, get_task
from pipeline.tasks.requests import validate_request
from pipeline.tasks.task import TaskOptions, UnknownTask

EXAMPLES: dict[str, dict[str, Any]] = {
    name: {"task": name, **({"options": task.example} if task.example else {})}
    for name, task in TASKS.items()
}
"""How to ask each task in a job."""


class AskedTask(Input):
    """A task with its options. Options that are left out have their defaults; a plain name means all of them."""

    model_config = ConfigDict(strict=True)

    task: str = Field(max_length=64)
    options: dict[str, Any] = Field(default_factory=dict, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        return {"task": value} if isinstance(value, str) else value

    @field_validator("task")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            return get_task(value).name
        except UnknownTask as error:
            raise refusal(error.code, str(error)) from None

    @field_validator("options")
    @classmethod
    def _complete(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        # The errors of the options keep their places: pydantic puts ours in front of them.
        task = info.data.get("task")  # absent when it was refused itself
        return value if task is None else validate_request(task, value)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Show what the tasks accept instead of a name and any object."""
        return {**handler(_documented().core_schema), "description": cls.__doc__}


@cache
def _documented() -> TypeAdapter[Any]:
    """Return the type that AskedTask accepts, spelled out: one model for each task, or its name."""
    by_task: Any = reduce(or_, [_model_of(name) for name in TASKS])
    # A plain name means all defaults: not for tasks that must be told what to look for.
    names: Any = Literal[tuple(name for name, task in TASKS.items() if not must_be_told(task.Options))]
    return TypeAdapter(Annotated[by_task, Field(discriminator="task")] | names)


def _model_of(name: str) -> Any:
    task = TASKS[name]
    literal: Any = Literal[name]
    config = ConfigDict(
        extra="forbid",
        title=task.title,
        json_schema_extra={"examples": [EXAMPLES[name]]},
    )
    return create_model(
        f"{name.capitalize()}Task",
        __config__=config,
        __doc__=task.description,
        task=(literal, Field(description="The name of the task.")),
        options=(task.Options, _options_field(task.Options)),
    )


def must_be_told(options: type[TaskOptions]) -> bool:
    """Say whether a task has an option without a default."""
    return any(field.is_required() for field in options.model_fields.values())


def _options_field(options: type[TaskOptions]) -> Any:
    described = "What to ask of it."
    if must_be_told(options):
        return Field(description=described)
    return Field(default_factory=options, description=described)
