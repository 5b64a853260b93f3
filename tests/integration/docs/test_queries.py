"""Whoever copies a query out of the documentation gets what it says, from either database."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import select, update
from support.jobs import claim, facts, plan, request, submit
from support.lives import (
    FINISH,
    PLAN,
    UNDERSTAND,
    expire,
    extend,
    must,
    segment_row,
    understand,
)

from db.database import Database
from db.failures import return_expired
from db.finishing import NewFindings, complete_finish, load_finish
from db.setbacks import MAX_CRASHES
from db.tables import JobRecording, Pass, Request, Table
from db.workers import WorkerReport, report_worker

DOCS = Path(__file__).resolve().parents[3] / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md") if "```sql" in page.read_text())
ONLY_POSTGRESQL = "-- PostgreSQL only"
WORKER = "h:1:cpu"


@dataclass(frozen=True)
class Query:
    """A statement as it stands on a page, and the comment above it."""

    title: str
    statement: str

    def of(self, names: Mapping[str, str]) -> str:
        """Return it with ids in place of the names that stand for them."""
        return re.sub(r"'([A-Z:]+)'", lambda found: f"'{names[found[1]]}'", self.statement)


def queries(page: str) -> Iterator[Query]:
    """Take the statements of a page apart; what no shell would take for a statement's end is none."""
    for block in re.findall(r"```sql\n(.*?)```", (DOCS / page).read_text(), re.DOTALL):
        title, lines = "", ""
        for line in block.splitlines(keepends=True):
            if line.startswith("--"):
                title = line.strip()
                continue
            lines += line
            if sqlite3.complete_statement(lines):
                yield Query(title, lines.strip())
                title, lines = "", ""
        assert not lines.strip(), f"{page}: a statement does not end: {lines}"


def rows_of(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement as a shell would: no parameters, one connection."""
    if database.is_sqlite:
        with closing(sqlite3.connect(str(database.url.database))) as connection:
            return connection.execute(statement).fetchall()
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


@pytest.fixture
def names(database: Database) -> dict[str, str]:
    """Two jobs that asked differently for one recording, a pass that was set aside and one that came through."""
    report = WorkerReport(WORKER, "cpu", "h", 1, places=4, held=1)
    with database.write() as session:
        report_worker(session, report)
    word = [
        {
            "word": "Refund",
            "start_ms": 0,
            "end_ms": 500,
            "start_sample": 0,
            "end_sample": 8_000,
            "confidence": 0.9,
        }
    ]
    asks_words = request(timestamps="word")
    job_id = submit(database, asks_words, request("emotion"))
    crash(database, must(claim(database, PLAN, worker=WORKER)))
    hear(database, words=word)
    extend(database, job_id, request(timestamps="segment"))
    hear(database, words=word)
    with database.read() as session:
        recording_id = session.scalars(select(JobRecording.recording_id)).first()
        request_id = session.scalars(select(Request.id).where(Request.key == asks_words.key)).first()
    assert recording_id is not None
    assert request_id is not None
    ids = {"JOB": job_id, "RECORDING": recording_id, "REQUEST": request_id}
    return {**ids, WORKER: WORKER, "HOST:PID:KIND": WORKER}


def crash(database: Database, found: Any) -> None:
    expire(database, found)
    with database.write() as session:
        return_expired(session, found)


def hear(database: Database, words: list[dict[str, Any]]) -> None:
    """Do all work: a segment and an angry stretch for each request of their kind."""
    while found := claim(database, PLAN):
        plan(database, found, facts(1))
    while found := claim(database, UNDERSTAND):
        understand(database, found)
    while found := claim(database, FINISH):
        with database.read() as session:
            work = load_finish(session, found)
        findings = []
        for one in work.requests:
            spoken = [{**segment_row(0), "words": words}] if one.task == "transcribe" else []
            times = {"channel": 0, "start_sample": 0, "end_sample": 16_000, "start_ms": 0, "end_ms": 1000}
            angry = {
                "index": 0,
                "task": one.task,
                "label": "angry",
                "text": "angry",
                "data": {},
                "flags": [],
                **times,
            }
            findings.append(NewFindings(one.id, spoken, [] if spoken else [angry], None, one.chunks_done))
        with database.write() as session:
            complete_finish(session, found, findings)


@pytest.mark.parametrize("page", PAGES)
def test_every_query_of_the_documentation_runs_as_it_is_written(page, database, names):
    faults = []
    for query in queries(page):
        if query.title.startswith(ONLY_POSTGRESQL) and database.is_sqlite:
            continue
        try:
            rows_of(database, query.of(names))
        except (sqlite3.Error, psycopg.Error) as error:
            faults.append(f"{query.statement}\n{error}")
    assert not faults, "\n".join(faults)


def asked(database: Database, names: Mapping[str, str], page: str, title: str) -> list[tuple[Any, ...]]:
    """Run the one query of a page whose comment holds these words."""
    (query,) = (query for query in queries(page) if title in query.title)
    return rows_of(database, query.of(names))


def test_work_that_came_through_after_a_crash_is_not_listed_as_crashed(database, names):
    assert asked(database, names, "runbook.md", "what was set aside") == []
    job_id = submit(database, uris=("s3://b/poison.wav",))
    for _ in range(MAX_CRASHES):
        with database.write() as session:
            session.execute(update(Pass).where(Pass.job_id == job_id).values(not_before=None))
        crash(database, must(claim(database, PLAN, worker=WORKER)))
    (row,) = asked(database, names, "runbook.md", "what was set aside")
    assert (row[0], str(row[1])) == ("plan", job_id)


def test_a_job_waits_for_the_passes_of_others_and_not_for_its_own(database, names):
    first = submit(database, request("scene"), uris=("s3://b/b.wav",))
    plan(database, must(claim(database, PLAN)), facts(2))
    second = submit(database, request("scene"), uris=("s3://b/b.wav",))
    plan(database, must(claim(database, PLAN)), None)
    waits_for = {
        job_id: [
            (str(row[0]), *row[1:])
            for row in asked(database, {"JOB": job_id}, "runbook.md", "of another job")
        ]
        for job_id in (first, second)
    }
    assert waits_for == {first: [], second: [(first, "understand", "ready")] * 2}


def test_columns_that_need_quotes_are_shown_in_quotes(database):
    need = set()
    for table in Table.metadata.tables.values():
        for column in table.columns:
            try:
                rows_of(database, f"SELECT {column.name} FROM {table.name}")
            except (sqlite3.Error, psycopg.Error):
                need.add(column.name)
    page = (DOCS / "sql.md").read_text()
    assert [name for name in sorted(need) if f'`"{name}"`' not in page or f"`{name}`" in page] == []


@pytest.mark.parametrize(
    ("title", "found"),
    [
        ("the transcript of a recording", [(0, 1000, 0, "hello world")]),
        ("where a word was said", [("s3://b/a.wav", 0)]),
        ("angry calls of one job", [("s3://b/a.wav",)]),
    ],
)
def test_what_two_jobs_asked_differently_is_not_found_twice(database, names, title, found):
    everything = rows_of(database, f"SELECT * FROM segments WHERE recording_id = '{names['RECORDING']}'")
    assert len(everything) == 2
    assert asked(database, names, "sql.md", title) == found
