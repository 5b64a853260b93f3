"""Name the states of jobs, recordings and passes, and which of them are final."""

from __future__ import annotations

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


class PassState(StrEnum):
    """The life of a pass. DONE, FAILED and CANCELLED are final: a retry is a new pass."""

    READY = "ready"
    LEASED = "leased"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_JOB_STATES = (JobState.SUCCEEDED, JobState.PARTIAL, JobState.FAILED, JobState.CANCELLED)
FINAL_LINK_STATES = (LinkState.SUCCEEDED, LinkState.PARTIAL, LinkState.FAILED, LinkState.CANCELLED)
