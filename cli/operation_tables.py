"""Lay failures, workers and the queue out as tables."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import groupby

from rich.table import Table
from rich.text import Text

from cli.client import Json
from cli.terminal import plain


def failures_table(failures: Iterable[Json]) -> Table:
    """Return one row for each failure."""
    table = _table("code", "retry", "source, message and what to do")
    for job_id, rows in groupby(failures, key=lambda row: row["job_id"]):
        table.add_row("", "", plain(f"job {job_id}", "bold"))  # in a column of its own it would leave no room
        for row in rows:
            uri = row["uri"]
            named = uri if row["kind"] == "recording" else f"{row['kind']} {uri}"
            table.add_row(
                plain(row["code"], "red" if row["state"] == "failed" else "yellow"),
                {"after_change": "after a change"}.get(row["retry"], row["retry"]),
                plain("\n".join([named, row["message"].removeprefix(f"{uri}: "), f"-> {row['action']}"])),
            )
    return table


def workers_table(workers: Iterable[Json]) -> Table:
    """Return one row for each worker."""
    table = _table("worker", "state", "held", "a minute", "model", "seen")
    for worker in workers:
        state = "draining" if worker["draining"] else "alive"
        name = plain(worker["name"])
        if trouble := worker["trouble"]:
            loads = trouble.startswith("loading:")
            state = "loads" if loads else "rests"
            name.append_text(plain(f"\n{trouble}", "" if loads else "red"))
        table.add_row(
            name,
            plain(state, "yellow" if worker["trouble"] else "green")
            if worker["alive"]
            else plain("silent", "red"),
            f"{worker['held']}/{worker['places']}",
            plain("\n".join(f"{kind} {rate:.1f}" for kind, rate in worker["per_minute"].items()) or "-"),
            plain(" on ".join(one for one in (worker["model"], worker["device"]) if one) or "-"),
            f"{ago(worker['seen_at'])} ago",
        )
    return table


def queue_table(depths: Iterable[Json]) -> Table:
    """Return one row for each kind of open work."""
    table = _table("kind", "model", "ready", "leased", "expired", "oldest", "a minute", "done in")
    for depth in depths:
        table.add_row(
            depth["kind"],
            plain(depth["model"] or "-"),
            str(depth["ready"]),
            str(depth["leased"]),
            plain(depth["expired"], "red" if depth["expired"] else ""),
            duration(depth["oldest_seconds"]),
            f"{depth['per_minute']:.1f}",
            _done_in(depth),
        )
    return table


def _done_in(depth: Json) -> Text:
    """Say how long open work takes, and why that cannot be told: what waits for another try is nobody's fault here."""
    if not depth["workers"]:
        return plain("nobody works", "yellow")
    told = []
    if depth["eta_seconds"] is not None:
        told.append(duration(depth["eta_seconds"]))
    elif depth["ready"] + depth["leased"] > depth["waiting"]:
        told.append("not known yet")
    if waiting := depth["waiting"]:
        first = duration(depth["next_try_seconds"])
        told.append(f"{waiting} wait{'s' if waiting == 1 else ''} for another try, the first in {first}")
    return plain("; ".join(told))


def ago(instant: str) -> str:
    """Return how long ago an instant was."""
    return duration((datetime.now(UTC) - datetime.fromisoformat(instant)).total_seconds())


def duration(seconds: float | None) -> str:
    """Return ``3 s``, ``12 min``, ``2 h 5 min`` or ``3 d 4 h``."""
    if seconds is None:
        return "-"
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{max(0, seconds):.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _table(*columns: str) -> Table:
    table = Table(box=None)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column == "code")  # to be copied in one piece
    return table
