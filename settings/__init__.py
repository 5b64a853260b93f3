"""Read the environment once, at the edges (``api``, ``workers``, ``cli``); everything else gets plain values."""

from __future__ import annotations

import math
import os
import re
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "EARWITNESS_"

_DEVICE = re.compile(r"auto|cpu|cuda(:(0|[1-9][0-9]?))?")
_LIKE_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/")  # s3:/bucket is no folder that anybody wants
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,254}(/|$)")  # what the storage takes: with no credentials
_FOLDER = re.compile(r"/+[^/?#][^?#]*")


class InvalidSettings(Exception):
    """A setting has a wrong value."""

    code = "invalid_settings"
    retryable = False


class Settings(BaseSettings):
    """Everything that can be set, with the default that is right for a newcomer's laptop."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True)

    data_dir: Path = Field(
        Path("earwitness-data"), description="Folder of the embedded database, objects and temporary files."
    )
    database_url: str = Field(
        "",
        description="SQLAlchemy URL. Empty: SQLite in the data folder. PostgreSQL: postgresql://user:pw@host/db.",
    )
    broker_url: str = Field(
        "", description="Redis URL for Celery, redis://host:6379/0. Empty: workers poll the database."
    )
    storage_url: str = Field(
        "",
        description="Where timelines and uploads go: a folder, or s3://bucket/prefix. Empty: the data folder.",
    )
    file_roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        (), description="Folders that file:// sources may name, separated by ':'. Empty: none."
    )
    s3_endpoint_url: str | None = Field(None, description="S3 endpoint; empty means Amazon's.")
    s3_region: str | None = Field(None, description="S3 region.")
    s3_path_style: bool = Field(
        False, description="Address buckets by path; most self-hosted S3 servers want true."
    )
    model: str = Field(
        "mini",
        description="What hears: mini (bundled, knows 80 words), a checkpoint folder, owner/name@commit, or tiny "
        "(untrained).",
    )
    chat_model: str = Field(
        "",
        description="What answers free questions: a Qwen-Audio-Chat checkpoint, as a folder or owner/name@commit. "
        "Empty: none, and tasks that need one are refused.",
    )
    device: str = Field("auto", description="Where the model runs: auto, cpu, cuda or cuda:N.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="What the model computes in. auto: bfloat16 on a GPU, float32 on a CPU."
    )
    weights: Literal["full", "int8"] = Field(
        "full",
        description="How the layers of the language model are kept: full, or int8, which saves memory and costs time.",
    )
    cuda_graphs: bool = Field(
        False, description="Whether steps on a GPU are recorded and replayed. Not yet tried on one."
    )
    places: int = Field(
        0,
        ge=0,
        le=1024,
        description="Chunks that one model process holds at a time. 0: 8 on a CPU, and on a GPU as many as its memory "
        "has room for, 32 at most.",
    )
    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8000, ge=0, le=65535, description="Port that the API listens on.")
    api_url: str = Field(
        "", description="Where the command line finds the API. Empty: the address and port above."
    )
    api_key: SecretStr | None = Field(
        None, description="Key that the command line sends to the API. Empty: none."
    )
    require_keys: bool = Field(
        False,
        description="Ask for a key on a loopback address too, as behind a proxy. On any other address keys are a must.",
    )
    key_secret: SecretStr | None = Field(
        None,
        description="Secret under which API keys are hashed, 32 characters or more. Empty: one is made in the data "
        "folder.",
    )
    max_queued: int = Field(
        1_000_000,
        ge=1,
        description="Recordings of one tenant that may wait; tenants can have limits of their own.",
    )
    max_queued_total: int = Field(
        5_000_000, ge=1, description="Recordings of all tenants together that may wait."
    )
    lease_seconds: float = Field(
        60.0, gt=0.2, description="Time after which a silent worker's work is taken over."
    )
    poll_seconds: float = Field(0.5, gt=0.01, description="Longest pause between two looks for ready work.")
    drain_seconds: float = Field(
        10.0,
        ge=0,
        description="Time that work has to end when a worker is asked to stop; then it is given back.",
    )
    watchdog_seconds: float = Field(
        600.0,
        gt=0,
        description="Time without a step after which a model worker ends itself, to be started again.",
    )
    cpu_workers: int = Field(2, ge=1, le=256, description="Recordings that one CPU worker plans at a time.")
    max_recording_seconds: float = Field(
        100 * 3600.0, gt=0, description="Longest recording in decoded seconds; longer ones are refused."
    )
    max_upload_bytes: int = Field(4 * 2**30, gt=0, description="Largest upload.")
    job_ttl_hours: float = Field(
        0.0,
        ge=0,
        description="Time after which jobs that do not say it themselves are deleted. 0: they stay.",
    )
    timeline_days: float = Field(
        30.0,
        ge=0,
        description="Time that decoded audio is kept after its last use; it is made again on demand. 0: for ever.",
    )
    upload_days: float = Field(
        7.0, ge=0, description="Time after which uploads that no job names are deleted. 0: they stay."
    )
    max_job_recordings: int = Field(
        1_000_000, ge=1, description="Most recordings of one job, and most lines of one manifest."
    )
    max_manifest_bytes: int = Field(2**28, ge=1, description="Largest manifest, unpacked.")
    webhook_allow_private: bool = Field(
        False,
        description="Whether webhooks may lead into private networks, over http and on any port too.",
    )
    webhook_retry_seconds: Annotated[tuple[float, ...], NoDecode] = Field(
        (5.0, 60.0, 300.0, 1800.0, 7200.0, 21600.0, 43200.0, 86400.0),
        description="Pauses before the second try of a delivery, the third and so on, separated by ','.",
    )
    webhook_disable_seconds: float = Field(
        5 * 86400.0,
        gt=0,
        description="A webhook that has failed for so long, and never succeeded, is disabled.",
    )
    alive_file: Path | None = Field(
        None,
        description="File that a worker touches whenever it looks for work; its age tells whether it lives.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least log level shown."
    )
    log: Literal["text", "json"] = Field(
        "text",
        description="Form of the log: text for people, or json, one object a line with the ids of the work.",
    )
    operator_token: SecretStr | None = Field(
        None,
        description="What operators show to read /metrics, /v1/workers and /v1/queue. Empty: only this machine may.",
    )

    @field_validator("file_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(Path(part) for part in value.split(os.pathsep) if part)
        return value

    @field_validator("webhook_retry_seconds", mode="before")
    @classmethod
    def _split_pauses(cls, value: object) -> object:
        return tuple(part for part in value.split(",") if part) if isinstance(value, str) else value

    @field_validator("webhook_retry_seconds")
    @classmethod
    def _real_pauses(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 <= pause < math.inf for pause in value):
            raise ValueError("a pause is a number of seconds, 0 or more")
        return value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: str) -> str:
        scheme = value.split("://", 1)[0].split("+", 1)[0]
        if value and scheme not in ("sqlite", "postgresql", "postgres"):
            raise ValueError(
                f"unknown database {scheme!r}: use sqlite:///FILE or postgresql://USER:PW@HOST/DB"
            )
        return value

    @field_validator("device")
    @classmethod
    def _known_device(cls, value: str) -> str:
        if not _DEVICE.fullmatch(value):
            raise ValueError("unknown device: use auto, cpu, cuda or cuda:N")
        return value

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str) -> str:
        if "://" not in value and not _LIKE_A_URL.match(value):
            return value  # a folder
        scheme, _, rest = value.partition("://")
        if scheme.lower() == "s3" and _BUCKET.match(rest):
            return f"s3://{rest}"
        path = rest.removeprefix("localhost")
        if scheme.lower() == "file" and _FOLDER.fullmatch(path) and ".." not in path.split("/"):
            return f"file://{path}"
        raise ValueError("this is no storage: use s3://BUCKET/PREFIX, file:///FOLDER or the path of a folder")

    @field_validator("api_key", "key_secret", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("key_secret")
    @classmethod
    def _long_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 32:
            raise ValueError("too short: use 32 characters or more, such as those of `openssl rand -hex 32`")
        return value

    @field_validator("broker_url")
    @classmethod
    def _known_broker(cls, value: str) -> str:
        if value and value.split("://", 1)[0] not in ("redis", "rediss", "unix", "redis+socket"):
            raise ValueError("unknown broker: use redis://HOST:PORT/DB, rediss:// or redis+socket:///PATH")
        return value

    @cached_property
    def resolved_database_url(self) -> str:
        """The database to use: the one that is set, else SQLite in the data folder."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir.absolute() / 'earwitness.db'}"
        scheme, _, rest = self.database_url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in ("postgresql", "postgres") else self.database_url

    @cached_property
    def resolved_storage_url(self) -> str:
        """The base URI of our own objects: ``s3://...`` as set, else a ``file://`` URI of a folder."""
        if "://" in self.storage_url:
            return self.storage_url.rstrip("/")
        folder = Path(self.storage_url) if self.storage_url else self.data_dir / "objects"
        return folder.absolute().as_uri()

    @cached_property
    def scratch_dir(self) -> Path:
        """Where workers keep their private temporary folders, one for each lease."""
        return self.data_dir.absolute() / "scratch"

    @property
    def embedded(self) -> bool:
        """Whether the workers poll the database, with no broker."""
        return not self.broker_url


def load_settings(**overrides: object) -> Settings:
    """Read the settings from the environment; raises ``InvalidSettings`` naming the variables that are wrong."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # the values are validated by pydantic
    except ValidationError as error:
        facts = "; ".join(map(_fact_of, error.errors()))
        raise InvalidSettings(f"wrong settings: {facts}") from None


def _fact_of(fault: Any) -> str:
    """Say which variable is wrong, and why."""
    name = str(fault["loc"][0]).upper() if fault["loc"] else "?"
    return f"{PREFIX}{name}: {fault['msg'].removeprefix('Value error, ')}"


def unknown_variables() -> list[str]:
    """Name the environment variables with our prefix that no setting reads: most likely misspelled."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
