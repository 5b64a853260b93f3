"""Hold the unfinished uploads of the S3 stub, and count what became of all of them."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.sax.saxutils import escape

SWEPT_SECONDS = 10.0  # no writer takes so long: who aborts an older upload is a sweep


@dataclass
class Upload:
    """One upload in parts."""

    key: str  # with the bucket, as in a path
    began: float = field(default_factory=time.time)
    parts: dict[int, bytes] = field(default_factory=dict)


class Uploads:
    """Uploads by their ids. Not safe for threads: the stub holds its lock."""

    def __init__(self) -> None:
        self._open: dict[str, Upload] = {}
        self.counts: Counter[str] = Counter()

    def begin(self, upload_id: str, key: str) -> None:
        """Begin an upload."""
        self._open[upload_id] = Upload(key)
        self.counts["begun"] += 1

    def put(self, upload_id: str, number: int, body: bytes) -> bool:
        """Take a part; False when there is no such upload."""
        if (upload := self._open.get(upload_id)) is None:
            return False
        upload.parts[number] = body
        return True

    def complete(self, upload_id: str, numbers: list[int]) -> bytes | None:
        """End an upload and return the whole of it; None when there is no such upload, or a part is missing."""
        upload = self._open.get(upload_id)
        if upload is None or any(number not in upload.parts for number in numbers):
            return None
        del self._open[upload_id]
        self.counts["completed"] += 1
        return b"".join(upload.parts[number] for number in numbers)

    def abort(self, upload_id: str) -> bool:
        """Drop an upload; False when there is no such upload."""
        if (upload := self._open.pop(upload_id, None)) is None:
            return False
        self.counts["swept" if time.time() - upload.began > SWEPT_SECONDS else "aborted"] += 1
        return True

    def left(self) -> list[dict[str, Any]]:
        """Return the unfinished ones, with the seconds since they began."""
        now = time.time()
        return [{"key": one.key, "seconds": now - one.began} for one in self._open.values()]

    def page(
        self, bucket: str, prefix: str, behind: tuple[str, str], most: int
    ) -> tuple[str, tuple[str, str]]:
        """Return a page of a listing as XML and the markers of the next, which are empty behind the last page."""
        start = f"/{bucket}/"
        found = sorted(
            (name, upload_id, upload.began)
            for upload_id, upload in self._open.items()
            if upload.key.startswith(start) and (name := upload.key[len(start) :]).startswith(prefix)
        )
        found = [one for one in found if one[:2] > behind]
        rows = "".join(
            f"<Upload><Key>{escape(name)}</Key><UploadId>{upload_id}</UploadId><Initiated>{instant(began)}</Initiated>"
            "</Upload>"
            for name, upload_id, began in found[:most]
        )
        return rows, found[most - 1][:2] if len(found) > most else ("", "")


def instant(seconds: float) -> str:
    """Return an instant as S3 writes it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
