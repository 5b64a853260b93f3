"""Name what the checker looks at: what clients and receivers saw, and what a service left behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

SOUND, POISON, MENDED = "sound", "poison", "mended"
"""What becomes of a chunk, by its samples: it is heard; it never is; it is, once what was wrong has been mended."""


@dataclass(frozen=True)
class Submitted:
    """A request for a job as its client saw it: a submission, or a job that was made of another one.

    ``outcome`` is acknowledged, refused, or unknown when no clear answer came.
    """

    mark: (
        str  # its idempotency key; stands in the job's metadata as ``mark``, copies of which retries carry on
    )
    outcome: str
    uris: Sequence[str]  # of a submission; what is made of another job takes its sources from there
    tenant: str = "default"
    job_id: str | None = None
    listings: Sequence[str] = ()  # the prefixes and manifests of a submission
    again: str | None = None  # the job that was named when the same was sent again under the same key
    kind: str = "submit"  # or retry, or more
    of: str | None = None  # the job that a retry or more tasks were asked of
    cancelled: bool = False  # a cancel of it was acknowledged before it had ended
    deleted: str = "no"  # asked when a delete had no clear answer, acknowledged
    ended: str | None = None  # the final state in which its client once saw it
    shown: Row | None = None  # the job as REST shows it in the end


@dataclass(frozen=True)
class Received:
    """One message as a receiver wrote it down."""

    path: str
    message_id: str
    timestamp: str
    signature: str
    body: str
    status: int | None  # the answer; None where there was none
    at: float  # seconds of the epoch

    @property
    def taken(self) -> bool:
        """Whether the receiver said that it has arrived, as far as it knows."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Hook:
    """A webhook as the client that registered it knows it."""

    webhook_id: str
    secret: str


@dataclass(frozen=True)
class Snapshot:
    """A service at rest: all rows by table, all objects, what was seen from outside, what should have been heard."""

    tables: Mapping[str, Sequence[Row]]
    objects: Mapping[str, str]  # URI -> sha256 of every object of ours
    submitted: Sequence[Submitted]
    pcm_of: Callable[[str], bytes | None]  # the samples of a source, None where there is no such object
    says: Callable[[bytes, Row], str]  # what the engine says of samples, asked a row of ``requests``
    most_attempts: int
    listed: Callable[[str], Sequence[str]] = lambda uri: ()  # the sources that a prefix or manifest names
    is_broken: Callable[[bytes], bool] = lambda pcm: False  # whether a source cannot be decoded
    fate: Callable[[bytes], str] = lambda heard: SOUND  # of the samples of a chunk
    scratch: Sequence[str] = ()  # private folders that are still there
    collected: bool = False  # whether objects that nobody refers to were swept
    unfinished: Sequence[str] = ()  # uploads in parts that a sweep of all of them left
    uploads_at: str = ""  # the URI below which a tenant's uploads lie
    received: Sequence[Received] = ()
    hooks: Mapping[str, Hook] = field(default_factory=dict)  # path -> the webhook that posts there
    foreign_reads: Sequence[str] = ()  # answers that showed one tenant what is another's


@dataclass(frozen=True)
class Violation:
    """A promise that was broken: which, and whether something was lost, doubled or got stuck."""

    invariant: str
    kind: str  # lost, doubled, stuck
    fact: str


Found = Iterator[Violation]


@dataclass
class Facts:
    """The rows of a snapshot by their ids, and what the events say of each job."""

    snapshot: Snapshot
    by_id: dict[str, dict[str, Row]] = field(default_factory=dict)
    events: dict[str, list[Row]] = field(default_factory=dict)  # job -> its events, in their order

    def __post_init__(self) -> None:
        for name, rows in self.snapshot.tables.items():
            if rows and "id" in rows[0]:
                self.by_id[name] = {str(row["id"]): row for row in rows}
        for event in sorted(self.rows("events"), key=lambda event: (event["at"], str(event["id"]))):
            self.events.setdefault(str(event["job_id"]), []).append(event)

    def rows(self, table: str) -> Sequence[Row]:
        """Return the rows of a table."""
        return self.snapshot.tables.get(table, ())

    def find(self, table: str, some_id: object) -> Row | None:
        """Return a row by its id."""
        return self.by_id.get(table, {}).get(str(some_id))

    def origin(self, job_id: str) -> tuple[str, str | None]:
        """Return how a job came to be, as its first event says: submit, retry or more, and of which job."""
        for event in self.events.get(job_id, ()):
            if event["kind"] == "job.accepted":
                data = event.get("data") or {}
                for kind, name in (("retry", "retry_of"), ("more", "more_of")):
                    if name in data:
                        return kind, str(data[name])
        return "submit", None

    def links(self, job_id: str) -> list[Row]:
        """Return the recordings of a job."""
        return [row for row in self.rows("job_recordings") if str(row["job_id"]) == job_id]
