"""Hold the settings of an S3 connection, free of boto3."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class S3Options:
    """How to reach S3; what is None comes from boto3's usual chain (environment, profile, instance role)."""

    endpoint_url: str | None = None  # None: AWS
    region: str | None = None
    path_style: bool = False  # bucket in the path instead of the host name; most other servers need it
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 60.0
    attempts: int = 5  # of one request, and of one block whose body broke off
    connections: int = 32

    def __post_init__(self) -> None:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError("access_key_id and secret_access_key come together or not at all")
        if self.attempts < 1 or self.connections < 1:
            raise ValueError("attempts and connections have to be at least 1")
