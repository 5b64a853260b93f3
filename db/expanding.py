"""Turn prefixes and manifests into recordings of their job, one page a transaction.

A page's rows, the source's cursor and counts, and the job's counter move together under the pass's epoch: after a
crash the next claim goes on behind the last page, and nothing is taken twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from db.claims import Claim, hold, keep
from db.links import NewLink, add_links, find_known_uris, find_seen
from db.settling import close_source
from db.statements import count_moved, insert_rows
from db.states import IfSeen, SourceKind
from db.tables import Job, JobSource, SourceError
from db.types import new_id

MAX_ERRORS_KEPT = 1_000  # of one manifest; the others are counted
NO_OBJECTS = "no_objects"


class TooManyObjects(Exception):
    """The job has as many recordings as one job may have."""

    code = "too_many_objects"
    retryable = False


@dataclass(frozen=True)
class Expansion:
    """What an expand pass reads, and how far it is."""

    kind: SourceKind
    uri: str
    glob: str | None
    cursor: str | None


@dataclass(frozen=True)
class NewSourceError:
    """A line that could not be taken."""

    line: int
    code: str
    message: str


@dataclass(frozen=True)
class SourcePage:
    """A piece of a source: what it adds, what was passed over, and the cursor behind it."""

    links: Sequence[NewLink]
    cursor: str
    seen: int  # objects or lines looked at
    skipped: int = 0  # not audio by their names, or outside the glob
    errors: Sequence[NewSourceError] = ()


def load_expansion(session: Session, claim: Claim) -> Expansion:
    """Read the source of an expand pass."""
    source = session.scalars(
        select(JobSource).where(JobSource.id == claim.source_id, JobSource.tenant == claim.tenant)
    ).one()
    return Expansion(SourceKind(source.kind), source.uri, source.glob, source.cursor)


def take_page(
    session: Session, claim: Claim, page: SourcePage, *, lease_seconds: float, most_recordings: int
) -> int:
    """Store one page and return how many plan passes became ready; the pass stays leased.

    An object that the job has already is counted as seen and not taken again. Raises ``TooManyObjects`` when the
    job would have more than ``most_recordings``, ``LeaseLost`` and ``JobCancelled``.
    """
    keep(session, claim, lease_seconds)
    job = session.scalars(select(Job).where(Job.id == claim.job_id)).one()
    links = list({link.uri: link for link in reversed(page.links)}.values())[::-1]
    known = find_known_uris(session, job.id, [link.uri for link in links]) if links else set()
    links = [link for link in links if link.uri not in known]
    if job.recordings_total + len(links) > most_recordings:
        raise TooManyObjects(
            f"a job may have {most_recordings} recordings: split the source, or raise "
            "EARWITNESS_MAX_JOB_RECORDINGS"
        )
    seen = find_seen(session, job, [link.uri for link in links]) if job.if_seen == IfSeen.SKIP else {}
    ready = add_links(
        session, job, links, first_position=job.recordings_total, source_id=claim.source_id, seen=seen
    )
    _count(session, claim, page, taken=len(links), skipped_recordings=len(links) - ready)
    _keep_errors(session, claim, page.errors)
    return ready


def complete_expansion(session: Session, claim: Claim) -> None:
    """Close the source, and the job when this was the last it waited for. Raises ``LeaseLost``, ``JobCancelled``.

    A source that gave nothing is failed with ``no_objects`` and says why.
    """
    hold(session, claim, settles_recording=True)
    source = session.scalars(select(JobSource).where(JobSource.id == claim.source_id)).one()
    close_source(session, claim.job_id, source.id, _emptiness(source), actor=claim.worker)


def _count(session: Session, claim: Claim, page: SourcePage, *, taken: int, skipped_recordings: int) -> None:
    count_moved(
        session,
        update(JobSource)
        .where(JobSource.id == claim.source_id)
        .values(
            cursor=page.cursor,
            objects_seen=JobSource.objects_seen + page.seen,
            objects_taken=JobSource.objects_taken + taken,
            objects_skipped=JobSource.objects_skipped + page.skipped,
            lines_bad=JobSource.lines_bad + len(page.errors),
        ),
    )
    count_moved(
        session,
        update(Job)
        .where(Job.id == claim.job_id)
        .values(
            recordings_total=Job.recordings_total + taken,
            recordings_skipped=Job.recordings_skipped + skipped_recordings,
        ),
    )


def _keep_errors(session: Session, claim: Claim, errors: Sequence[NewSourceError]) -> None:
    if not errors:
        return
    kept = session.scalar(select(func.count()).where(SourceError.source_id == claim.source_id)) or 0
    rows = [
        {"id": new_id(), "tenant": claim.tenant, "source_id": claim.source_id, **vars(error)}
        for error in errors[: max(0, MAX_ERRORS_KEPT - kept)]
    ]
    insert_rows(session, SourceError, rows)


def _emptiness(source: JobSource) -> tuple[str, str] | None:
    if source.objects_taken:
        return None
    why = why_nothing(
        source.kind,
        source.glob,
        seen=source.objects_seen,
        skipped=source.objects_skipped,
        lines_bad=source.lines_bad,
    )
    return None if why is None else (NO_OBJECTS, f"{source.uri}: {why}")


def why_nothing(kind: str, glob: str | None, *, seen: int, skipped: int, lines_bad: int) -> str | None:
    """Say why a source gave nothing; None where all it has came from an earlier one."""
    if kind == SourceKind.MANIFEST:
        if lines_bad:
            return f"none of its {seen} lines could be taken: see its errors"
        return None if seen else "its manifest names nothing"
    if not seen:
        return "nothing lies under this prefix: check its spelling"
    if skipped < seen:
        return None
    if glob is not None:
        return f"none of its {seen} objects fits the glob {glob}"
    return f"none of its {seen} objects is audio by its name: give a glob that says which to take"
