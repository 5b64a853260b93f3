"""Build a submission from the command line, and lay out what a dry run answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from rich.table import Table

from api.failure_advice import ADVICE
from cli.client import ApiClient, Json
from cli.errors import ApiProblem, InvalidSource
from cli.terminal import plain
from storage.uploads import safe_name, upload_uri

_NO_UPLOAD = "00000000-0000-7000-8000-000000000000"
_WHOLE_BUCKET = re.compile(r"s3://[^/]+/?")


@dataclass(frozen=True)
class Asked:
    """What the options of ``submit`` say besides sources and tasks; None is left to the API."""

    channels: str = "mix"
    priority: int = 0
    tracking: str | None = None
    if_seen: str | None = None
    identity: str | None = None
    metadata: Sequence[str] = ()  # NAME=VALUE
    webhook: str | None = None
    if_no_worker: str | None = None

    def body(self, sources: list[Json], tasks: list[Json]) -> Json:
        """Return the job as the API takes it."""
        job: Json = {
            "sources": sources,
            "tasks": tasks,
            "channels": self.channels,
            "priority": self.priority,
        }
        more = {
            "tracking": self.tracking,
            "if_seen": self.if_seen,
            "identity": self.identity,
            "metadata": parse_metadata(self.metadata) or None,
            "webhook": self.webhook,
            "if_no_worker": self.if_no_worker,
        }
        return job | {name: value for name, value in more.items() if value is not None}


def parse_metadata(pairs: Iterable[str]) -> dict[str, str]:
    """Return ``NAME=VALUE`` pairs as an object of texts; raises ``InvalidSource`` for anything else."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals or name in found:
            raise InvalidSource(f"--metadata {pair!r}: write NAME=VALUE, each name once")
        found[name] = value
    return found


def is_prefix(uri: str) -> bool:
    """Say whether a URI names all that lies below it: it ends with a slash, or is a whole bucket."""
    return uri.endswith("/") or _WHOLE_BUCKET.fullmatch(uri) is not None


def source_of(uri: str, glob: str | None) -> Json:
    """Return a URI as a source; with a glob every URI is a prefix. An upload is always one object."""
    if not uri.startswith("upload://") and (glob is not None or is_prefix(uri)):
        return {"prefix": uri} if glob is None else {"prefix": uri, "glob": glob}
    return {"uri": uri}


def uploaded(source: Path | str, uri: str, glob: str | None) -> Json:
    """Return what was named as a source, uploaded or not.

    The API keeps only plain letters of a file's name: where that lost some, the name goes along as a note.
    """
    one = source_of(uri, glob)
    if isinstance(source, Path) and not uri.endswith(f"/{source.name}"):
        one["metadata"] = {"file": source.name.encode("utf-8", "replace").decode()}
    return one


def stand_in(source: Path | str) -> str:
    """Return the URI of an upload that is none, as long as the one that a file will get."""
    return upload_uri(_NO_UPLOAD, safe_name(source.name if isinstance(source, Path) else ""))


def rehearse(client: ApiClient, body: Json) -> None:
    """Have the API look at a job of stand-ins before anything is uploaded; raises what it would refuse."""
    try:
        client.dry_run(body)
    except ApiProblem as error:
        if error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            raise
        raise InvalidSource(
            f"{len(body['sources'])} sources with their names are more than one job can take: name fewer at a time"
        ) from None


def check_dry(sources: Sequence[Path | str]) -> None:
    """Refuse to try out local files: they would have to be uploaded for it; raises ``InvalidSource``."""
    if any(isinstance(source, Path) for source in sources):
        raise InvalidSource(
            "--dry-run looks at s3:// and file:// sources and manifests: local files would be uploaded first"
        )


def check_glob(glob: str | None, sources: Sequence[Path | str]) -> None:
    """Refuse a glob where there is no prefix for it; raises ``InvalidSource``."""
    if glob is not None and (not sources or any(isinstance(source, Path) for source in sources)):
        raise InvalidSource(
            "--glob says which objects below s3:// and file:// prefixes: for local files write the pattern as the "
            "source, as in 'calls/**/*.wav'"
        )


def dry_run_table(found: Json) -> Table:
    """Return what a job would hear, and what it would leave out, line by line."""
    table = Table(box=None, padding=(0, 2), show_header=False)
    least = "" if found["complete"] else "at least "
    sized = " (extrapolated)" if found["bytes_extrapolated"] else ""
    table.add_row("objects", plain(f"{least}{found['objects']}"))
    table.add_row("size", plain(f"{least}{found['bytes'] / 1e6:,.1f} MB{sized}"))
    table.add_row("audio", plain(_hours(found, least)))
    for one in found["probed_unreadable"]:
        table.add_row(
            "unreadable", plain(f"{one['count']} of {found['probed']} looked into: {_reason(one)}", "yellow")
        )
    unprobed = found.get("not_probed", ())
    sampled = found["probed"] + sum(one["count"] for one in unprobed)
    for one in unprobed:
        table.add_row(
            "not looked into", plain(f"{one['count']} of {sampled} in the sample: {_reason(one)}", "yellow")
        )
    for one in found["skipped"]:
        table.add_row("left out", plain(f"{one['count']}: {_reason(one)}"))
    for source in found["sources"]:
        if source["error"]:
            where = "" if source["uri"] in source["error"] else f"{source['uri']}: "
            table.add_row("error", plain(f"{where}{source['error']}", "red"))
    for warning in found.get("warnings", ()):
        table.add_row("warning", plain(warning, "yellow"))
    if not found["complete"]:
        table.add_row("", plain("the time for a dry run was up before all was counted"))
    return table


def _hours(found: Json, least: str) -> str:
    if found["estimated_hours"] is None:
        return "unknown: no file of the sample tells"
    how = f", estimated from {found['probed']} files" if found["hours_extrapolated"] else ""
    return f"{least}{found['estimated_hours']:.2f} hours{how}"


def _reason(one: Json) -> str:
    such = f", such as {', '.join(one['examples'][:2])}" if one["examples"] else ""
    advice = ADVICE.get(one["code"])
    return f"{one['code']}{such}" + (f"\n-> {advice.action}" if advice else "")


def sources_table(sources: Iterable[Json]) -> Table:
    """Return one row for each prefix and manifest of a job."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("state", "seen", "taken", "skipped", "bad lines", "source"):
        table.add_column(name, overflow="fold")
    for one in sources:
        error = one["error"]
        named = one["uri"] + (f" {one['glob']}" if one["glob"] else "")
        table.add_row(
            one["state"],
            *(str(one[name]) for name in ("seen", "taken", "skipped", "lines_bad")),
            plain("\n".join([named, *([f"{error['code']}: {error['message']}"] if error else [])])),
        )
    return table
