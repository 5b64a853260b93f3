"""Put what was heard beside what is true, and mark what was wrong."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

from rich.table import Table

from cli.terminal import out, plain
from samples import Sample

# An upload's URI is upload://ID/NAME: its name begins at character 47.
_HEARD = {
    "transcribe": "SELECT text FROM segments s JOIN recordings r ON r.id = s.recording_id "
    "WHERE substr(uri, 47) = ? ORDER BY s.channel, s.start_ms",
    "caption": "SELECT caption FROM captions WHERE substr(uri, 47) = ? ORDER BY channel, start_ms",
    "emotion": "SELECT emotion FROM emotions WHERE substr(uri, 47) = ? ORDER BY channel, start_ms",
}


@dataclass(frozen=True)
class Mark:
    """One task on one sample: what was heard, what is true, and how many of how many are right."""

    sample: str
    task: str
    heard: str
    truth: str
    right: int
    total: int
    unit: str


def mark_samples(database: Path, samples: Sequence[Sample]) -> list[Mark]:
    """Read what was heard from the database file and compare it with the samples' truth."""
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        return [mark for sample in samples for mark in _marks(connection, sample)]


def _marks(connection: sqlite3.Connection, sample: Sample) -> Iterator[Mark]:
    for task, statement in _HEARD.items():
        heard = [row[0] or "" for row in connection.execute(statement, (sample.path.name,))]
        truth = sample.truth.get(task)
        if task == "transcribe":
            true_words = _true_words(sample)
            right = count_right_words(" ".join(heard).split(), true_words)
            yield Mark(
                sample.name, task, " ".join(heard), " ".join(true_words), right, len(true_words), "words"
            )
        elif truth is not None and heard:
            right = sum(one == truth for one in heard)
            yield Mark(
                sample.name, task, " / ".join(dict.fromkeys(heard)), truth, right, len(heard), "chunks"
            )


def _true_words(sample: Sample) -> list[str]:
    """Return the words in the order in which they are read back: channel by channel, then by time."""
    return [word.word for word in sorted(sample.words, key=lambda word: (word.channel or 0, word.start_ms))]


def count_right_words(heard: Sequence[str], truth: Sequence[str]) -> int:
    """Return how many true words were heard in their order."""
    blocks = SequenceMatcher(a=heard, b=truth, autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks)


def print_marks(marks: Sequence[Mark]) -> None:
    """Show heard beside true, a row for each task of each sample."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("recording", "task", "heard", "true", "right"):
        table.add_column(column, overflow="fold")
    for mark in marks:
        good = mark.right == mark.total and (mark.total > 0 or not mark.heard)
        share = f"{mark.right} of {mark.total} {mark.unit}" if mark.total else "nobody speaks"
        sign = "\N{CHECK MARK}" if good else "\N{BALLOT X}"
        table.add_row(
            plain(mark.sample),
            plain(mark.task),
            plain(_shorten(mark.heard) or "-"),
            plain(_shorten(mark.truth) or "-"),
            plain(f"{sign} {share}", "green" if good else "red"),
        )
    out.print()
    out.print(plain("Heard beside what is true", "bold"))
    out.print(table)


def _shorten(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:120].rsplit(' ', 1)[0]} ..."
