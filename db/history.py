"""Check what a database says of the life of jobs, for tests and tools: legal transitions, counts that add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.settling import COUNTED_STATES
from db.states import (
    FINAL_JOB_STATES,
    FINAL_LINK_STATES,
    JOB_EDGES,
    JOB_WORK,
    LINK_EDGES,
    OPEN_PASS_STATES,
    JobState,
    LinkState,
    PassState,
)
from db.tables import Event, Job, JobRecording, Pass, RecordingRequest, Result

JOB_EVENTS: Mapping[str, str] = {
    "job.accepted": JobState.QUEUED,
    **{f"job.{state}": state for state in JobState if state != JobState.QUEUED},
}
LINK_EVENTS: Mapping[str, str] = {
    "recording.planned": LinkState.UNDERSTANDING,
    **{f"recording.{state}": state for state in (LinkState.FINISHING, *FINAL_LINK_STATES)},
}
"""Which events say that something went over into which state."""


@dataclass(frozen=True)
class Happening:
    """An event, as far as the check looks at it."""

    kind: str
    job_id: str
    job_recording_id: str | None = None
    pass_id: str | None = None


def check_events(events: Iterable[Happening]) -> list[str]:
    """Return what is illegal in a history that is in order: edges that do not exist, work after a pass's end."""
    faults: list[str] = []
    jobs: dict[str, str] = {}
    links: dict[str, str] = {}
    ended: dict[str, str] = {}
    for event in events:
        if event.kind in JOB_EVENTS:
            _step(faults, "job", jobs, event.job_id, JOB_EVENTS[event.kind], JOB_EDGES, JobState.QUEUED)
        elif event.kind in LINK_EVENTS and event.job_recording_id is not None:
            state = LINK_EVENTS[event.kind]
            before = links.get(event.job_recording_id, LinkState.QUEUED)
            if event.kind == "recording.planned" and before == LinkState.UNDERSTANDING:
                continue  # the reconciler had it planned again
            _step(faults, "recording", links, event.job_recording_id, state, LINK_EDGES, LinkState.QUEUED)
        elif event.pass_id is not None:
            if event.pass_id in ended:
                faults.append(f"pass {event.pass_id}: {event.kind} after {ended[event.pass_id]}")
            if event.kind in ("pass.failed", "pass.cancelled"):
                ended[event.pass_id] = event.kind
    return faults


def _step(
    faults: list[str],
    what: str,
    states: dict[str, str],
    key: str,
    state: str,
    edges: Mapping[str, frozenset[str]],
    first: str,
) -> None:
    before = states.get(key)
    if before is None and state == first:
        states[key] = state
        return
    if state not in edges[before or first]:
        faults.append(f"{what} {key}: from {before or first} to {state}")
    states[key] = state


def check_rows(session: Session) -> list[str]:
    """Return what does not add up in the tables: counters, states without an owner, results without a pass's word."""
    faults: list[str] = []
    jobs = {job.id: job for job in session.scalars(select(Job))}
    links: dict[str, list[JobRecording]] = {job_id: [] for job_id in jobs}
    for link in session.scalars(select(JobRecording)):
        links[link.job_id].append(link)
    passes = session.scalars(select(Pass)).all()
    for job in jobs.values():
        faults += _check_job(job, links[job.id], [one for one in passes if one.job_id == job.id])
    for one in passes:
        faults += _check_pass(one)
    faults += _check_counts(session)
    return faults


def _check_job(job: Job, links: Sequence[JobRecording], passes: Sequence[Pass]) -> list[str]:
    faults = []
    states = [link.state for link in links]
    counted: dict[str, Any] = {
        column: sum(state in wanted for state in states) for column, wanted in COUNTED_STATES.items()
    }
    counted["recordings_total"] = len(states)
    for column, found in counted.items():
        if getattr(job, column) != found:
            faults.append(f"job {job.id}: {column} is {getattr(job, column)}, its rows say {found}")
    is_final = job.state in FINAL_JOB_STATES
    closed = all(state in FINAL_LINK_STATES for state in states)
    if is_final != (job.finished_at is not None):
        faults.append(f"job {job.id}: {job.state} and finished_at {job.finished_at}")
    if is_final and job.state != JobState.CANCELLED and not closed:
        faults.append(f"job {job.id}: {job.state} with open recordings")
    if not is_final and closed and not job.sources_open:
        faults.append(f"job {job.id}: {job.state} although everything of it is closed")
    left = [one for one in passes if one.state in OPEN_PASS_STATES and one.kind in JOB_WORK]
    retiring = any(one.state in OPEN_PASS_STATES and one.kind not in JOB_WORK for one in passes)
    if job.state == JobState.CANCELLED and (left or not closed) and not retiring:
        faults.append(f"job {job.id}: cancelled, with open work that nobody retires")
    return faults


def _check_pass(one: Pass) -> list[str]:
    faults = []
    is_leased = one.state == PassState.LEASED
    if is_leased != (one.lease_until is not None):
        faults.append(f"pass {one.id}: {one.state} and lease_until {one.lease_until}")
    if (one.state in OPEN_PASS_STATES) == (one.finished_at is not None):
        faults.append(f"pass {one.id}: {one.state} and finished_at {one.finished_at}")
    if one.attempts < one.errors + one.crashes:
        faults.append(f"pass {one.id}: {one.attempts} attempts, {one.errors} errors, {one.crashes} crashes")
    return faults


def _check_counts(session: Session) -> list[str]:
    answered: dict[tuple[str, str], int] = {}
    for recording_id, request_id in session.execute(select(Result.recording_id, Result.request_id)):
        answered[recording_id, request_id] = answered.get((recording_id, request_id), 0) + 1
    faults = []
    for row in session.scalars(select(RecordingRequest)):
        found = answered.get((row.recording_id, row.request_id), 0)
        if row.chunks_done != found:
            faults.append(
                f"recording {row.recording_id}, request {row.request_id}: {row.chunks_done} chunks are counted, "
                f"{found} have results"
            )
        if row.chunks_done + row.chunks_failed > row.chunks_total:
            faults.append(
                f"recording {row.recording_id}, request {row.request_id}: more chunks than there are"
            )
    return faults


def load_history(session: Session) -> list[Happening]:
    """Read all events in their order."""
    rows = session.execute(
        select(Event.kind, Event.job_id, Event.job_recording_id, Event.pass_id).order_by(Event.id)
    )
    return [Happening(*row) for row in rows]
