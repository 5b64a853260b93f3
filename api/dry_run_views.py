"""Show what a job would hear."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class SkippedView(BaseModel):
    """Objects or lines that share a reason."""

    code: str = Field(description="Why, as a stable code.", examples=["not_audio"])
    count: int = Field(description="How many.", examples=[3])
    examples: list[str] = Field(description="Up to five of them.", examples=[["s3://archive/1999/notes.txt"]])


class SourceCountView(BaseModel):
    """A prefix or a manifest, counted."""

    uri: str = Field(description="The prefix, or where the manifest lies.", examples=["s3://archive/1999/"])
    objects: int = Field(
        description="Objects that it would bring, those of earlier sources not counted again."
    )
    error: str | None = Field(description="Why it could not be read, or not to its end.")


class DryRunView(BaseModel):
    """What a job would hear, had it been submitted. Nothing was stored."""

    dry_run: Literal[True] = Field(True, description="That nothing was stored.")
    complete: bool = Field(
        description="Whether all was counted; false: the time or the page limit came first, there are at least so many."
    )
    objects: int = Field(description="Objects that would become recordings.", examples=[1200])
    bytes: int = Field(description="Their size.", examples=[4_000_000_000])
    bytes_extrapolated: bool = Field(description="Whether the size follows from a sample.")
    estimated_hours: float | None = Field(
        description="Hours of audio; null when no file of the sample tells.", examples=[103.5]
    )
    hours_extrapolated: bool = Field(description="Whether the hours follow from a sample.")
    probed: int = Field(description="How many files were looked into for that.", examples=[16])
    probed_unreadable: list[SkippedView] = Field(
        description="Those of them whose headers cannot be read, by their codes."
    )
    not_probed: list[SkippedView] = Field(
        description="Files beside them that were meant to be looked into and could not be: by the storage's code, by "
        "`decode_timeout` or `decode_crashed` where the probe gave no answer, or `not_probed` where our disk failed."
    )
    skipped: list[SkippedView] = Field(
        description="Objects and lines that would be left out, and why: not_audio, outside_glob, invalid_name, "
        "own_object, or the code of a bad line or a missing object."
    )
    sources: list[SourceCountView] = Field(description="The prefixes and manifests, in their order.")
    warnings: list[str] = Field([], description="What the job would wait for, as `warnings` of a job.")
