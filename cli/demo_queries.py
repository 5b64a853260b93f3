"""Read a demo's findings by SQL, and show the statements with what they return."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from rich.syntax import Syntax
from rich.table import Table

from cli.terminal import out, plain

# An upload's URI is upload://ID/NAME: its name begins at character 47.

SEGMENTS = """
SELECT substr(uri, 47) AS recording, s.channel, s.start_ms, s.end_ms,
       substr(s.text, 1, 60) AS text
FROM segments s JOIN recordings r ON r.id = s.recording_id
ORDER BY recording, s.start_ms LIMIT 12
""".strip()

WORDS = """
SELECT substr(uri, 47) AS recording, channel, start_ms, end_ms, word
FROM words ORDER BY recording, start_ms LIMIT 12
""".strip()

CAPTIONS = """
SELECT substr(uri, 47) AS recording, start_ms, end_ms,
       substr(caption, 1, 60) AS caption
FROM captions ORDER BY recording, start_ms LIMIT 12
""".strip()

EMOTIONS = """
SELECT substr(uri, 47) AS recording, channel, start_ms, end_ms,
       substr(emotion, 1, 40) AS emotion
FROM emotions ORDER BY recording, channel, start_ms LIMIT 12
""".strip()

SUMMARIES = """
SELECT substr(uri, 47) AS recording, task, label, confidence AS share
FROM summaries s JOIN recordings r ON r.id = s.recording_id
WHERE task IN ('language', 'scene', 'emotion') ORDER BY recording, task LIMIT 12
""".strip()

RECORDINGS = """
SELECT substr(uri, 47) AS recording, codec, sampling_rate AS hz,
       channel_count AS ch, duration_ms, speech_ms, chunk_count AS chunks, state
FROM recordings ORDER BY recording
""".strip()


def print_query(database: Path, title: str, statement: str) -> int:
    """Run a statement on the database file, show both it and its rows, and return how many rows there are."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        cursor = connection.execute(statement)
        columns = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    out.print()
    out.print(plain(title, "bold"))
    out.print(Syntax(statement, "sql", background_color="default", word_wrap=True))
    table = Table(box=None, header_style="dim")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain("" if value is None else value) for value in row))
    out.print(table if rows else plain("(no rows)", "dim"))
    return len(rows)
