"""Ask a throw-away child process how long recordings say they are, from their headers; nothing is decoded.

The files may be sparse: their beginnings and ends in place, nothing between, as long as the object is.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipeline.child_start import ENVIRONMENT, PROJECT, child_command

MEMORY_BYTES = 1024**3  # address space of the child
_SCRIPT = PROJECT / "pipeline" / "probe_child.py"
_MOST_CHILDREN = 3  # a file that takes the child down costs one; the others are still asked


@dataclass(frozen=True)
class Probed:
    """What a header says: the seconds, or the code of what is wrong with the file."""

    seconds: float | None
    code: str | None = None


def probe(files: Sequence[BinaryIO], wait_seconds: float) -> list[Probed]:
    """Return what each open file says of its length; never raises, and takes no longer than ``wait_seconds``."""
    ends_at = time.monotonic() + wait_seconds
    found: list[Probed] = []
    for _ in range(_MOST_CHILDREN):
        left = ends_at - time.monotonic()
        if len(found) == len(files) or left <= 0:
            break
        rest = files[len(found) :]
        answers = _ask(rest, left)
        found += answers[: len(rest)]
        if len(answers) < len(rest):  # the child ended on the next one
            found.append(Probed(None, "decode_crashed"))
    return found + [Probed(None, "decode_timeout")] * (len(files) - len(found))


def _ask(files: Sequence[BinaryIO], wait_seconds: float) -> list[Probed]:
    descriptors = [file.fileno() for file in files]
    order = {
        "fds": descriptors,
        "memory_bytes": MEMORY_BYTES,
        "cpu_seconds": int(wait_seconds) + 1,
    }
    try:
        ended = subprocess.run(  # noqa: S603 - our own script, and no input in the arguments
            child_command(_SCRIPT, order),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            env=ENVIRONMENT,
            cwd="/",
            start_new_session=True,
            timeout=wait_seconds,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as error:
        ended = error.stdout or b""
    return [_probed(line) for line in ended.splitlines()]


def _probed(line: bytes) -> Probed:
    try:
        answer: dict[str, Any] = json.loads(line)
        if answer.get("code") is not None:
            return Probed(None, str(answer["code"])[:64])
        seconds = float(answer["seconds"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return Probed(None, "decode_crashed")  # a child that was taken over can write anything
    return Probed(seconds) if 0 <= seconds < 1e9 else Probed(None, "decode_crashed")
