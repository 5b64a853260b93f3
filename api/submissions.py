"""Define what a client may submit; every refusal names its field."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import InitErrorDetails

from api.asked_tasks import EXAMPLES, AskedTask
from api.inputs import Input, in_steps, refusal
from storage import InvalidUri
from storage.client_notes import InvalidNotes, check_metadata, check_tracking
from storage.selection import check_glob, check_prefix
from storage.uploads import check_source

MAX_SOURCES = 10_000
MAX_TASKS = 100
MAX_BULK_SOURCES = 100  # prefixes and manifests
MAX_PRIORITY = 9
MAX_TTL_HOURS = 24 * 3_650.0

Value = TypeVar("Value")


def _refused(check: Callable[[Value], Value], value: Value) -> Value:
    try:
        return check(value)
    except (InvalidUri, InvalidNotes) as error:
        raise refusal(error.code, str(error)) from None


def _check_uri(uri: str) -> str:
    return _refused(check_source, uri)


def _check_prefix(prefix: str) -> str:
    return _refused(check_prefix, prefix)


def _check_glob(glob: str) -> str:
    return _refused(check_glob, glob)


def _check_metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    return _refused(check_metadata, metadata)


def _check_tracking(tracking: str) -> str:
    return _refused(check_tracking, tracking)


Metadata = Annotated[dict[str, Any], AfterValidator(_check_metadata)]
Tracking = Annotated[str, AfterValidator(_check_tracking)]
_KINDS = ("uri", "prefix", "manifest")


class Source(Input):
    """One audio object, all objects below a prefix, or those that a manifest names. A plain string is one object."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "type": ["object", "string"],
            "oneOf": [
                {"type": "string"},
                {"type": "object", "required": ["uri"]},
                {"type": "object", "required": ["prefix"]},
                {"type": "object", "required": ["manifest"]},
            ],
        },
    )

    uri: Annotated[str, AfterValidator(_check_uri)] | None = Field(
        None,
        description="One object: `s3://bucket/key`, `file:///path` inside the folders that the server allows, or the "
        "`upload://` URI that an upload returned.",
        examples=["s3://archive/1998/tape-17.flac"],
    )
    prefix: Annotated[str, AfterValidator(_check_prefix)] | None = Field(
        None,
        description="All objects whose names begin so: `s3://bucket/folder/` or `file:///folder/`. Listed by a worker, "
        "so that the job is accepted at once; what is not audio by its name is skipped and counted.",
        examples=["s3://archive/1998/"],
    )
    glob: Annotated[str, AfterValidator(_check_glob)] | None = Field(
        None,
        description="Which objects below the prefix, in place of those that look like audio: `*` and `?` stay inside "
        "a folder, `**` crosses them.",
        examples=["**/*.wav"],
    )
    manifest: Annotated[str, AfterValidator(_check_uri)] | None = Field(
        None,
        description="An object that names the objects: JSON lines with `uri`, `metadata` and `tracking`, CSV with a "
        "header of these names, or one URI a line; may be packed with gzip. An upload may be one.",
        examples=["s3://archive/lists/1998.jsonl"],
    )
    metadata: Metadata = Field(
        default_factory=dict, description="Your notes on this object; up to 16 KiB of JSON."
    )
    tracking: Tracking | None = Field(
        None, description="Your own id of this object; by default that of the job.", examples=["case-4711"]
    )

    @model_validator(mode="before")
    @classmethod
    def _plain_uri(cls, value: Any) -> Any:
        return {"uri": value} if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        named = [kind for kind in _KINDS if kind in value]
        if not named and any(name not in cls.model_fields for name in value):
            return value  # most likely misspelled: that is what will be said
        if len(named) != 1:
            many = f"say one of them, not {' and '.join(named)}"
            raise _at("uri", "one_source", many if named else "required, or prefix, or manifest", value)
        for field in ("glob",) if named != ["prefix"] else ("metadata", "tracking"):
            if field in value:
                raise _at(field, "one_source", f"does not go with {named[0]}", value)
        if named == ["manifest"] and (odd := [f for f in ("metadata", "tracking") if f in value]):
            raise _at(odd[0], "one_source", "the lines of a manifest say it themselves", value)
        if value[named[0]] is None:
            raise _at(named[0], "string_type", "Input should be a valid string", value)
        return value


def _at(field: str, code: str, reason: str, value: Any) -> ValidationError:
    details = InitErrorDetails(type=refusal(code, reason), loc=(field,), input=value)
    return ValidationError.from_exception_data("Source", [details])


class Submission(Input):
    """What to listen to, and what to find out."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={
            "examples": [
                {
                    "sources": [{"uri": "s3://archive/1998/tape-17.flac"}, {"prefix": "s3://archive/1999/"}],
                    "tasks": [EXAMPLES["transcribe"], "caption"],
                    "channels": "mix",
                    "metadata": {"collection": "interviews"},
                    "priority": 0,
                }
            ]
        },
    )

    sources: Annotated[list[Source], Field(min_length=1, max_length=MAX_SOURCES), in_steps(MAX_SOURCES)] = (
        Field(description="The audio objects, and prefixes and manifests of many.")
    )
    tasks: list[AskedTask] = Field(
        min_length=1, max_length=MAX_TASKS, description="What to find out about each of them; see /v1/tasks."
    )
    channels: Literal["mix", "split"] = Field(
        "mix",
        description="`mix` hears the mean of all channels; `split` hears the two channels of a stereo recording apart.",
    )
    metadata: Metadata = Field(
        default_factory=dict, description="Your own notes; up to 16 KiB of JSON, returned with the job."
    )
    tracking: Tracking | None = Field(
        None,
        description="Your own id, in the rows of all its recordings that have none of theirs.",
        examples=["order-12"],
    )
    if_seen: Literal["skip", "reuse", "redo"] = Field(
        "reuse",
        description="What to do with an object that the archive has in this version: `skip` leaves it when all that "
        "is asked was found, `reuse` takes what is there and runs what is missing, `redo` hears it all again.",
    )
    identity: Literal["version", "content"] = Field(
        "version",
        description="What is the same object as one that the archive has: one at the same place in the same "
        "`version`, or one of the same `content`, wherever it lies; for that it has to be read.",
    )
    if_no_worker: Literal["wait", "refuse"] = Field(
        "wait",
        description="What to do when no worker serves or loads a model that the tasks need: `wait` for one, and say so "
        "in `warnings`, or `refuse` the job.",
    )
    dry_run: bool = Field(
        False,
        description="Store nothing and answer what the job would hear: see also the parameter `dry_run`.",
    )
    priority: int = Field(0, ge=0, le=MAX_PRIORITY, description="A higher one runs sooner.")
    webhook: str | None = Field(
        None,
        max_length=2_048,
        description="An `https://` URL that is told how this job ended, beside the webhooks of all jobs. The first "
        "job that names it gets its secret in the answer.",
        examples=["https://example.com/earwitness"],
    )
    ttl_hours: float | None = Field(
        None,
        gt=0,
        le=MAX_TTL_HOURS,
        description="After so many hours the job is deleted, with all that no other job links to; cancelled if it "
        "still runs. Absent: as the service is set.",
        examples=[720.0],
    )

    @field_validator("sources")
    @classmethod
    def _not_too_many(cls, sources: list[Source]) -> list[Source]:
        if sum(source.uri is None for source in sources) > MAX_BULK_SOURCES:
            raise refusal("too_many_sources", f"at most {MAX_BULK_SOURCES} prefixes and manifests in one job")
        return sources

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
