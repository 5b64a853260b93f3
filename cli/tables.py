"""Lay jobs, recordings and findings out as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from cli.client import Json
from cli.terminal import clock, plain

if TYPE_CHECKING:  # SQLAlchemy costs a client a quarter of a second that it has no use for
    from db.tables import ApiKey, Tenant

_COLOURS = {"succeeded": "green", "partial": "yellow", "failed": "red", "cancelled": "red"}


def jobs_table(jobs: Iterable[Json]) -> Table:
    """Return one row for each job."""
    table = _table("job", "state", "heard", "failed", "accepted, UTC", edge=False)  # fits into 80 columns
    for job in jobs:
        counts = job["recordings"]
        finished = counts["succeeded"] + counts["partial"]
        table.add_row(
            job["id"],
            _state(job["state"]),
            f"{finished}/{counts['total']}",
            str(counts["failed"]),
            job["created_at"][5:16].replace("T", " "),
        )
    return table


def recordings_table(rows: Iterable[Json]) -> Table:
    """Return one row for each source of a job, with its error and warnings."""
    table = _table("state", "length", "speech", "source, recording and what to know")
    for row in rows:
        recording = row["recording"] or {}
        table.add_row(
            _state(row["state"]),
            clock(recording.get("duration_ms")),
            clock(recording.get("speech_ms")),
            plain("\n".join([named(row), recording.get("id") or "not found yet", *_remarks(row)])),
        )
    return table


def segments_table(segments: Iterable[Json]) -> Table:
    """Return one row for each utterance, its words under it when they have times."""
    table = _table("start", "end", "ch", "text", "flags")
    for segment in segments:
        table.add_row(
            clock(segment["start_ms"]),
            clock(segment["end_ms"]),
            str(segment["channel"]),
            plain(segment["text"]),
            plain(", ".join(segment["flags"])),
        )
        if segment["words"]:
            timed = (f"{word['word']} {clock(word['start_ms'])}" for word in segment["words"])
            table.add_row("", "", "", plain("  ".join(timed), "dim"), "")
    return table


def summaries_table(summaries: Iterable[Json]) -> Table:
    """Return one row for each request, with what holds for the whole recording."""
    table = _table("task", "of the whole recording", "share")
    for summary in summaries:
        share = summary["confidence"]
        table.add_row(
            summary["task"],
            plain(" ".join([summary["text"] or summary["label"] or "", *_counted(summary["data"])]).strip()),
            "" if share is None else f"{100 * share:.0f} %",
        )
    return table


def _question(note: Json) -> list[str]:
    """Return what an answer answers: a job may ask several questions."""
    question = note.get("data", {}).get("question")
    return [] if question is None else [question]


def _counted(data: Json) -> list[str]:
    """Return how much was found where a summary counts it: a phrase that was said nowhere is not to look found."""
    units = {"words": "words", "utterances": "utterances", "count": "times"}
    return [f"({data[name]} {unit})" for name, unit in units.items() if isinstance(data.get(name), int)]


def annotations_table(annotations: Iterable[Json]) -> Table:
    """Return one row for each annotation."""
    table = _table("start", "end", "ch", "task", "text", "flags")
    for note in annotations:
        table.add_row(
            clock(note["start_ms"]),
            clock(note["end_ms"]),
            str(note["channel"]),
            note["task"],
            plain("\n".join([*_question(note), note["text"] or note["label"] or ""])),
            plain(", ".join(note["flags"])),
        )
    return table


def tasks_table(tasks: Iterable[Json]) -> Table:
    """Return one row for each task, with its cost, its limits, its options and their defaults."""
    table = _table("task", "what it finds", "what it costs", "limits", "options (default first)")
    for task in tasks:
        options = task["options"].get("properties", {})
        table.add_row(
            task["name"],
            plain(task["description"]),
            plain(task["cost"]),
            plain("\n".join(f"{name} {value}" for name, value in task["limits"].items())),
            plain("\n".join(map(_option, options.items()))),
        )
    return table


def keys_table(keys: Iterable[ApiKey]) -> Table:
    """Return one row for each key."""
    table = _table("tenant", "begins with", "name", "made", "last used", "")
    for key in keys:
        made, used = (_minute(at) for at in (key.created_at, key.last_used_at))
        table.add_row(
            key.tenant,
            key.prefix,
            plain(key.name),
            made,
            used,
            "live" if key.revoked_at is None else "revoked",
        )
    return table


def tenants_table(tenants: Iterable[Tenant], waiting: Mapping[str, int]) -> Table:
    """Return one row for each tenant."""
    table = _table("tenant", "share", "may wait", "waiting")
    for tenant in tenants:
        limit = "the service's limit" if tenant.max_queued is None else str(tenant.max_queued)
        table.add_row(tenant.id, f"{tenant.weight:g}", limit, str(waiting[tenant.id]))
    return table


def _minute(at: datetime | None) -> str:
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M}"


def webhooks_table(webhooks: Iterable[Json]) -> Table:
    """Return one row for each webhook, with whether it works."""
    table = _table("webhook", "state", "URL, whose jobs, and events")
    for webhook in webhooks:
        whose = "all jobs" if webhook["of_all_jobs"] else "jobs that name it"
        facts = [webhook["url"], whose, *webhook["events"]]
        table.add_row(webhook["id"], plain(*_webhook_state(webhook)), plain("\n".join(facts)))
    return table


def _webhook_state(webhook: Json) -> tuple[str, str]:
    if webhook["disabled_at"]:
        return f"disabled {webhook['disabled_at'][:19]}", "red"
    if webhook["failing_since"]:
        return f"failing since {webhook['failing_since'][:19]}", "yellow"
    return "works", "green"


def deliveries_table(deliveries: Iterable[Json]) -> Table:
    """Return one row for each delivery, with how its tries went."""
    table = _table("delivery", "state", "event and tries")
    for delivery in deliveries:
        tries = [
            f"{one['number']}: {one['error_message'] or one['status_code']} ({one['duration_ms']} ms)"
            for one in delivery["attempts"]
        ]
        happened = f"{delivery['kind']} {delivery['created_at'][:19].replace('T', ' ')}"
        colour = {"delivered": "green", "pending": ""}.get(delivery["state"], "red")
        table.add_row(delivery["id"], plain(delivery["state"], colour), plain("\n".join([happened, *tries])))
    return table


def _table(*columns: str, edge: bool = True) -> Table:
    """Return a table that cuts nothing: job ids stay in one piece, texts go on in the next line."""
    table = Table(box=None, pad_edge=edge)
    for column in columns:
        whole = column in ("job", "webhook", "delivery")
        table.add_column(column, overflow="fold", no_wrap=whole, min_width=36 if whole else None)
    return table


def _option(item: tuple[str, Json]) -> str:
    name, schema = item
    if "enum" not in schema and schema.get("type") != "boolean":
        return f"{name}=TEXT" if schema.get("type") == "string" else f"{name}=A|B|..."
    default = schema.get("default")
    values = schema.get("enum") or (
        [False, True] if schema.get("type") == "boolean" else [schema.get("type")]
    )
    ordered = [default, *(value for value in values if value != default)]
    return f"{name}={'|'.join(str(value).lower() for value in ordered)}"


def _state(state: str) -> Text:
    return plain(state, _COLOURS.get(state, ""))


def named(row: Json) -> str:
    """Return the URI of a recording, with the name of the file that it was."""
    file = row.get("metadata", {}).get("file")  # as `submit` notes it where the upload's name is another
    return f"{row['uri']} ({file})" if file else str(row["uri"])


def _remarks(row: Json) -> list[str]:
    error = row["error"] or (row["recording"] or {}).get("error")
    remarks = [] if error is None else [_told(error)]
    return list(dict.fromkeys([*remarks, *(row["recording"] or {}).get("warnings", [])]))


def _told(error: Json) -> str:
    """Return an error as text; some messages begin with their code already, as warnings do."""
    code, message = error["code"], error["message"]
    return str(message) if message.startswith(f"{code}: ") else f"{code}: {message}"
