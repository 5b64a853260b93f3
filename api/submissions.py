"""Define what a client may submit; every refusal names its field."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from api.asked_tasks import EXAMPLES, AskedTask
from api.inputs import Input, refusal
from storage import InvalidUri
from storage.uploads import check_source

MAX_SOURCES = 10_000
MAX_TASKS = 100
MAX_METADATA_BYTES = 16 * 1024
MAX_METADATA_DEPTH = 16
MAX_PRIORITY = 9
MAX_TTL_HOURS = 24 * 3_650.0


def _check_uri(uri: str) -> str:
    try:
        return check_source(uri)
    except InvalidUri as error:
        raise refusal(error.code, str(error)) from None


def _check_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    """Refuse what one of the databases could not keep: NUL, lone surrogates, NaN, bottomless nesting."""
    waiting: list[tuple[Any, int]] = [(metadata, 1)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_METADATA_DEPTH:
            raise refusal("metadata_too_deep", f"metadata may be {MAX_METADATA_DEPTH} levels deep")
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in (*value.keys(), *value.values())]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise refusal("metadata_not_finite", "metadata may hold finite numbers only")
        elif isinstance(value, str) and ("\x00" in value or any("\ud800" <= c <= "\udfff" for c in value)):
            raise refusal("metadata_not_text", "metadata may hold neither NUL nor lone surrogates")
    size = len(json.dumps(metadata, ensure_ascii=False).encode())
    if size > MAX_METADATA_BYTES:
        raise refusal("metadata_too_large", f"metadata may be {MAX_METADATA_BYTES} bytes of JSON, not {size}")
    return metadata


class Source(Input):
    """One audio object. A plain string is taken as its URI."""

    model_config = ConfigDict(strict=True, json_schema_extra={"type": ["object", "string"]})

    uri: Annotated[str, AfterValidator(_check_uri)] = Field(
        description="`s3://bucket/key`, `file:///path` inside the folders that the server allows, or the "
        "`upload://` URI that an upload returned.",
        examples=["s3://archive/1998/tape-17.flac"],
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_uri(cls, value: Any) -> Any:
        return {"uri": value} if isinstance(value, str) else value


class Submission(Input):
    """What to listen to, and what to find out."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "sources": [{"uri": "s3://archive/1998/tape-17.flac"}],
                    "tasks": [EXAMPLES["transcribe"], "caption"],
                    "channels": "mix",
                    "metadata": {"collection": "interviews"},
                    "priority": 0,
                }
            ]
        },
    )

    sources: list[Source] = Field(
        min_length=1, max_length=MAX_SOURCES, description="The audio objects; one recording each."
    )
    tasks: list[AskedTask] = Field(
        min_length=1, max_length=MAX_TASKS, description="What to find out about each of them; see /v1/tasks."
    )
    channels: Literal["mix", "split"] = Field(
        "mix",
        description="`mix` hears the mean of all channels; `split` hears the two channels of a stereo recording apart.",
    )
    metadata: Annotated[dict[str, Any], AfterValidator(_check_metadata)] = Field(
        default_factory=dict, description="Your own notes; up to 16 KiB of JSON, returned with the job."
    )
    priority: int = Field(0, ge=0, le=MAX_PRIORITY, description="A higher one runs sooner.")
    ttl_hours: float | None = Field(
        None,
        gt=0,
        le=MAX_TTL_HOURS,
        description="After so many hours the job is deleted, with all that no other job links to; cancelled if it "
        "still runs. Absent: as the service is set.",
        examples=[720.0],
    )

    @field_validator("tasks")
    @classmethod
    def _none_twice(cls, tasks: list[AskedTask]) -> list[AskedTask]:
        return refuse_twice(tasks)


def refuse_twice(tasks: list[AskedTask]) -> list[AskedTask]:
    """Return the tasks, or refuse them when one asks what an earlier one asks."""
    first: dict[str, int] = {}
    for index, asked in enumerate(tasks):
        identity = json.dumps([asked.task, asked.options], sort_keys=True)
        earlier = first.setdefault(identity, index)
        if earlier != index:
            twice = refusal("duplicate_task", f"asks the same as tasks[{earlier}]")
            details = InitErrorDetails(type=twice, loc=(index,), input=asked.task)
            raise ValidationError.from_exception_data("tasks", [details])
    return tasks
