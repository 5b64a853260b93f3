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
_TRANSCRIPT = (
    "SELECT text FROM segments s JOIN recordings r ON r.id = s.recording_id "
    "WHERE substr(uri, 47) = ? ORDER BY s.channel, s.start_ms"
)
_LABELS = {
    "language": "SELECT channel, language FROM languages WHERE substr(uri, 47) = ? ORDER BY channel, start_ms",
    "caption": "SELECT channel, caption FROM captions WHERE substr(uri, 47) = ? ORDER BY channel, start_ms",
    "scene": "SELECT channel, text FROM scenes WHERE substr(uri, 47) = ? ORDER BY channel, start_ms",
    "emotion": "SELECT channel, emotion FROM emotions WHERE substr(uri, 47) = ? ORDER BY channel, start_ms",
}
_SOUNDS = "SELECT DISTINCT sound FROM sounds WHERE substr(uri, 47) = ? ORDER BY sound"


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
    name = (sample.path.name,)
    heard = " ".join(row[0] for row in connection.execute(_TRANSCRIPT, name))
    true_words = _true_words(sample)
    right = count_right_words(heard.split(), true_words)
    yield Mark(sample.name, "transcribe", heard, " ".join(true_words), right, len(true_words), "words")
    for task, statement in _LABELS.items():
        rows = connection.execute(statement, name).fetchall()
        truths = [_truth(sample, task, channel) for channel, _ in rows]
        if rows and None not in truths:
            right = sum(label == truth for (_, label), truth in zip(rows, truths, strict=True))
            heard, true = (_listed(texts) for texts in ([label for _, label in rows], truths))
            yield Mark(sample.name, task, heard, true, right, len(rows), "stretches")
    sounds = {row[0] for row in connection.execute(_SOUNDS, name)}
    true_sounds = set((sample.truth["events"] or "").split(", "))
    if sounds:
        right = len(sounds & true_sounds)
        total = len(sounds | true_sounds)
        heard, true = (", ".join(sorted(names)) for names in (sounds, true_sounds))
        yield Mark(sample.name, "events", heard, true, right, total, "sounds")


def _listed(texts: Sequence[str | None]) -> str:
    """Return texts in their order, each once."""
    return " / ".join(dict.fromkeys(map(str, texts)))


def _truth(sample: Sample, task: str, channel: int) -> str | None:
    """Return what is true of a channel: of its own where the channels were heard apart."""
    truths = sample.truth_by_channel if sample.split else (sample.truth,)
    return truths[channel if sample.split else 0][task]


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
