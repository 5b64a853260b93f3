"""Name the states of jobs, recordings and passes, and say which may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class JobState(StrEnum):
    """The life of a job."""

    QUEUED = "queued"  # accepted, nothing claimed yet
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # every recording succeeded
    PARTIAL = "partial"  # some recordings failed or are incomplete
    FAILED = "failed"  # every recording failed
    CANCELLED = "cancelled"


class LinkState(StrEnum):
    """The life of one recording inside one job (``job_recordings.state``)."""

    QUEUED = "queued"  # waits for its plan
    UNDERSTANDING = "understanding"  # planned; passes are under way
    FINISHING = "finishing"  # everything was heard; stitching
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"  # some chunks failed, or the audio was cut off: see its error and warnings
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"  # the archive has it already, and the job said to leave it


class SourceState(StrEnum):
    """The life of a prefix or manifest of a job (``job_sources.state``)."""

    EXPANDING = "expanding"  # pages of it become recordings of the job
    EXPANDED = "expanded"
    FAILED = "failed"  # see its error; what had been found before stays in the job
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """The life of one event on its way to one webhook."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # given up after the last try: see its attempts; it can be sent again
    CANCELLED = "cancelled"  # the webhook was removed


class SourceKind(StrEnum):
    """What a source of many recordings is."""

    PREFIX = "prefix"
    MANIFEST = "manifest"


class IfSeen(StrEnum):
    """What a job does with an object that the archive has in this version."""

    SKIP = "skip"  # leave it: nothing runs
    REUSE = "reuse"  # take what is there, run what is missing
    REDO = "redo"  # hear it all again, as a new recording


class Identity(StrEnum):
    """What a job takes for the same object as one that the archive has."""

    VERSION = "version"  # the same place and ETag, or file size and times
    CONTENT = "content"  # the same bytes, wherever they lie


class RecordingState(StrEnum):
    """The life of a recording, whoever asked for it."""

    NEW = "new"
    PLANNED = "planned"  # timeline and chunks exist
    INVALID = "invalid"  # could not be decoded: see its error


class RequestState(StrEnum):
    """The progress of one request on one recording."""

    OPEN = "open"
    HEARD = "heard"  # every chunk is done, failed or skipped
    STITCHED = "stitched"  # segments and annotations exist


class PassKind(StrEnum):
    """What a worker does with a pass."""

    PLAN = "plan"
    UNDERSTAND = "understand"
    FINISH = "finish"
    EXPAND = "expand"  # list a page of a prefix, or read a page of a manifest
    DELIVER = "deliver"  # tell a webhook
    RETIRE = "retire"  # close, page by page, what a cancelled or deleted job leaves behind


class PassState(StrEnum):
    """The life of a pass. DONE, FAILED and CANCELLED are final: a retry is a new pass."""

    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_JOB_STATES = (JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED)
FINAL_LINK_STATES = (
    LinkState.SUCCEEDED,
    LinkState.PARTIAL,
    LinkState.FAILED,
    LinkState.CANCELLED,
    LinkState.SKIPPED,
)

OPEN_PASS_STATES = (PassState.READY, PassState.LEASED)

JOB_WORK = (PassKind.PLAN, PassKind.UNDERSTAND, PassKind.FINISH, PassKind.EXPAND)
"""What a cancel ends; telling webhooks and clearing up go on."""

JOB_EDGES: Mapping[str, frozenset[str]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, *FINAL_JOB_STATES}),  # at once when all of it was skipped
    JobState.RUNNING: frozenset(FINAL_JOB_STATES),
    **{state: frozenset() for state in FINAL_JOB_STATES},
}
"""Which states may follow a job's; what is final stays, since a retry is a new job."""

LINK_EDGES: Mapping[str, frozenset[str]] = {
    LinkState.QUEUED: frozenset(
        {LinkState.UNDERSTANDING, LinkState.FAILED, LinkState.CANCELLED, LinkState.SKIPPED}
    ),
    LinkState.UNDERSTANDING: frozenset({LinkState.FINISHING, LinkState.FAILED, LinkState.CANCELLED}),
    LinkState.FINISHING: frozenset(
        {LinkState.SUCCEEDED, LinkState.PARTIAL, LinkState.FAILED, LinkState.CANCELLED}
    ),
    **{state: frozenset() for state in FINAL_LINK_STATES},
}
"""Which states may follow that of a recording in a job."""

PASS_EDGES: Mapping[str, frozenset[str]] = {
    PassState.READY: frozenset({PassState.LEASED, PassState.CANCELLED}),
    PassState.LEASED: frozenset({PassState.READY, PassState.DONE, PassState.FAILED, PassState.CANCELLED}),
    **{state: frozenset() for state in (PassState.DONE, PassState.FAILED, PassState.CANCELLED)},
}
"""Which states may follow a pass's; what is final stays, since a retry is a new pass."""
