"""Keep the secret under which API keys are hashed: from the environment, else from a file in the data folder."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from settings import Settings

FILE_NAME = "key-secret"


def load_key_secret(settings: Settings) -> bytes:
    """Return the secret, and make it in the data folder (mode 0600) when there is none yet.

    Processes that start at once agree: the file appears whole, and the first one stays.
    """
    if settings.key_secret is not None:
        return settings.key_secret.get_secret_value().encode()
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        _make(path)
    return path.read_bytes()


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f"{FILE_NAME}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(32).encode())
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
