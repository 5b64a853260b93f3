"""Own the private folder of each lease."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from db.claims import Claim


@contextmanager
def private_folder(scratch_dir: Path, claim: Claim) -> Iterator[Path]:
    """Make a folder that only this lease uses, mode 0700, and remove it; after a crash the reconciler does."""
    folder = scratch_dir / f"{claim.pass_id}.{claim.epoch}"
    folder.mkdir(mode=0o700, parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def lease_of_folder(folder: Path) -> tuple[str, int] | None:
    """Return the pass id and epoch that a private folder belongs to, None for a folder that is not one."""
    pass_id, _, epoch = folder.name.partition(".")
    try:
        return str(UUID(pass_id)), int(epoch)
    except ValueError:
        return None
