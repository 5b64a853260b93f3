"""Examine an installation: what is configured, what is reachable, what is missing, and how to mend it."""

from __future__ import annotations

import difflib
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cli.service import CPU_PACKAGES, MODEL_PACKAGES, check_device, missing_packages
from cli.settings_list import mask
from qwen_audio.bundled import find_bundled
from settings import PREFIX, InvalidSettings, Settings, unknown_variables

TIMEOUT_SECONDS = 10.0
LOW_DISK_BYTES = 2 * 2**30

_COMMIT = re.compile(r"[0-9a-f]{40}")


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"  # works, and is worth knowing
    FAIL = "fail"  # something will not work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; ``fix`` is a command or a setting."""

    level: Level
    what: str
    fact: str
    fix: str = ""


def examine(settings: Settings) -> Iterator[Finding]:
    """Yield what is found, one part after another; nothing is changed but a probe object that is removed again."""
    yield from _variables()
    for look in _LOOKS:
        yield from look(settings)


def _variables() -> Iterator[Finding]:
    known = [name.upper() for name in Settings.model_fields]
    for name in unknown_variables():
        near = difflib.get_close_matches(name.removeprefix(PREFIX), known, n=1)
        fix = f"did you mean {PREFIX}{near[0]}?" if near else f"unset {name}"
        yield Finding(Level.WARN, "environment", f"{name} is no setting", fix)


def _database(settings: Settings) -> Iterator[Finding]:
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from db.database import Database, DatabaseUnavailable
    from db.upgrade import SchemaOutdated, check_schema, newest_revision

    url = make_url(settings.resolved_database_url)
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        yield Finding(
            Level.WARN,
            "database",
            f"{shown} does not exist yet",
            "earwitness up  (or: earwitness db upgrade)",
        )
        return
    database = Database(settings.resolved_database_url)
    try:
        database.check()
        check_schema(database)
        yield Finding(Level.OK, "database", f"{shown} answers, at revision {newest_revision()}")
    except DatabaseUnavailable as error:
        yield Finding(
            Level.FAIL, "database", str(error).strip(), f"start it, or correct {PREFIX}DATABASE_URL"
        )
    except SchemaOutdated as error:
        yield Finding(Level.FAIL, "database", f"{shown}: {error}", "earwitness db upgrade")
    except SQLAlchemyError as error:
        yield Finding(
            Level.FAIL, "database", f"{shown}: {type(error).__name__}", f"check {PREFIX}DATABASE_URL"
        )
    finally:
        database.close()


def _storage(settings: Settings) -> Iterator[Finding]:
    from db.types import new_id
    from storage import S3Options, StorageError, join, open_store

    url = settings.resolved_storage_url
    options = S3Options(
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        path_style=settings.s3_path_style,
        connect_timeout_seconds=TIMEOUT_SECONDS / 4,
        read_timeout_seconds=TIMEOUT_SECONDS / 2,
        attempts=2,
    )
    try:
        store = open_store(url, roots=settings.file_roots, s3=options)
        probe = join(url, "doctor", new_id())
        with store.writer(probe) as writer:
            writer.write(b"earwitness")
        store.read(probe, 0, 10)
        store.delete(probe)
    except StorageError as error:
        fix = f"check {PREFIX}STORAGE_URL, {PREFIX}S3_* and the credentials"
        yield Finding(Level.FAIL, "storage", f"{url} cannot be written ({error.code}): {error}", fix)
    else:
        yield Finding(Level.OK, "storage", f"{url} can be written, read and cleaned")
    for root in settings.file_roots:
        if not root.is_dir():
            yield Finding(
                Level.WARN, "file roots", f"{root} is no folder", f"mkdir, or correct {PREFIX}FILE_ROOTS"
            )


def _disk(settings: Settings) -> Iterator[Finding]:
    place = settings.data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    fact = f"{free / 2**30:.1f} GiB free for {settings.data_dir}"
    if free < LOW_DISK_BYTES:
        yield Finding(Level.WARN, "disk", fact, f"an hour of audio takes 0.1 GiB; move {PREFIX}DATA_DIR")
    else:
        yield Finding(Level.OK, "disk", fact)


def _broker(settings: Settings) -> Iterator[Finding]:
    if settings.embedded:
        yield Finding(Level.OK, "broker", "none: workers poll the database")
        return
    import redis

    address = settings.broker_url.replace("redis+socket://", "unix://", 1)
    shown = mask(settings.broker_url)
    connection: redis.Redis | None = None
    try:
        connection = redis.Redis.from_url(address, socket_timeout=2, socket_connect_timeout=2)
        connection.ping()
        yield Finding(Level.OK, "broker", f"{shown} answers")
    except (redis.RedisError, OSError, ValueError) as error:
        fact = f"{shown} does not answer ({type(error).__name__}); workers poll meanwhile"
        yield Finding(Level.FAIL, "broker", fact, f"start Redis, or unset {PREFIX}BROKER_URL")
    finally:
        if connection is not None:
            connection.close()


def _workers(settings: Settings) -> Iterator[Finding]:
    """Say of each model that work waits for whether a worker serves it."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from db.database import Database
    from db.queue_depth import list_depths
    from db.workers import list_served

    url = make_url(settings.resolved_database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return  # nothing waits yet
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            waiting = {
                depth.model: depth.ready for depth in list_depths(session) if depth.model and depth.ready
            }
            served = set(list_served(session))
    except (SQLAlchemyError, OSError):
        return  # the database has its own finding
    finally:
        database.close()
    for model in sorted({settings.model, settings.chat_model, *waiting} - {""}):
        count = waiting.get(model, 0)
        if model in served:
            yield Finding(Level.OK, "workers", f"the model {model} is served; {count} passes wait")
        elif count:
            fix = "earwitness worker --kind gpu (--kind chat for conversations), or earwitness up"
            yield Finding(
                Level.FAIL, "workers", f"no worker serves {model}, and {count} passes wait for it", fix
            )
        else:
            yield Finding(
                Level.OK, "workers", f"no worker serves {model} at the moment, and nothing waits for it"
            )


def examine_models(settings: Settings) -> Iterator[Finding]:
    """Yield what is found of the models that the settings name."""
    yield from _checkpoint("model", settings.model, f"{PREFIX}MODEL")
    if settings.chat_model:
        yield from _checkpoint("chat model", settings.chat_model, f"{PREFIX}CHAT_MODEL")


def _checkpoint(part: str, model: str, variable: str) -> Iterator[Finding]:
    name, at, commit = model.partition("@")
    if model == "tiny":
        fix = f"set {variable} to a trained checkpoint to get words"
        yield Finding(
            Level.WARN, part, "tiny: untrained, it says noise and is written when a worker starts", fix
        )
    elif find_bundled(model):
        yield Finding(Level.OK, part, "mini: bundled, for synthetic speech in a small vocabulary")
    elif Path(model).is_dir():
        missing = [file for file in ("config.json", "qwen.tiktoken") if not (Path(model) / file).exists()]
        if missing:
            yield Finding(
                Level.FAIL, part, f"{model} lacks {', '.join(missing)}", "copy the whole checkpoint"
            )
        else:
            yield Finding(Level.OK, part, f"{model} is there")
    elif at and "/" in name and _COMMIT.fullmatch(commit):
        yield Finding(Level.OK, part, f"{model} is fetched when a worker starts, unless it is in the cache")
    else:
        fix = f"set {variable} to mini or tiny, a checkpoint folder, or OWNER/NAME@COMMIT with 40 digits"
        yield Finding(Level.FAIL, part, f"{model} is no folder, and no hub name with its commit", fix)


def _packages(settings: Settings) -> Iterator[Finding]:
    for what, names in (("CPU worker", CPU_PACKAGES), ("model worker", MODEL_PACKAGES)):
        if missing := missing_packages(names):
            fact = f"missing Python packages: {', '.join(missing)}"
            yield Finding(Level.FAIL, what, fact, "pip install -c constraints.txt -e '.[gpu]'")
        else:
            versions = ", ".join(f"{name} {_version(name)}" for name in names)
            yield Finding(Level.OK, what, versions)


def _version(name: str) -> str:
    # Read from the installed files: importing torch to ask it would take three seconds.
    try:
        return importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "of unknown version"


def _device(settings: Settings) -> Iterator[Finding]:
    """Look for a GPU that is named; where none is, the worker takes what there is."""
    try:
        check_device(settings)
    except InvalidSettings as error:
        yield Finding(Level.FAIL, "device", str(error), f"set {PREFIX}DEVICE to auto, or to what is there")
    else:
        if settings.device.startswith("cuda"):
            yield Finding(Level.OK, "device", f"{settings.device} is there")


_CONFINE = "import json; from pipeline.sandbox import confine; print(json.dumps(confine(2**30, 10)))"


def _sandbox(settings: Settings) -> Iterator[Finding]:
    """Confine a process as the decoder does, and say what that took away from it."""
    try:
        asked = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-c", _CONFINE], capture_output=True, timeout=TIMEOUT_SECONDS, check=True
        )
        confined = json.loads(asked.stdout)
    except (subprocess.SubprocessError, json.JSONDecodeError) as error:
        fact = f"a process cannot be confined ({type(error).__name__}): decoding will fail"
        yield Finding(Level.FAIL, "decoder", fact, "run on Linux, with resource limits allowed")
        return
    lacking = [name.replace("_", " ") for name, worked in confined.items() if not worked]
    if lacking:
        fact = f"runs with limits, but without: {', '.join(lacking)}"
        fix = "allow user namespaces (sysctl kernel.unprivileged_userns_clone=1), or cut the container off the network"
        yield Finding(Level.WARN, "decoder", fact, fix)
    else:
        yield Finding(Level.OK, "decoder", "runs with limits, without network and without new privileges")


_LOOKS: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
    _database,
    _storage,
    _disk,
    _broker,
    _workers,
    examine_models,
    _packages,
    _device,
    _sandbox,
)
