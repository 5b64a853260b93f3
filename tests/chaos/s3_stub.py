"""Be a small S3 that fails on purpose: objects in memory, errors and cut bodies at a rate that can be set.

``python -m chaos.s3_stub PORT SEED``. ``POST /__rate/0.2`` sets the share of requests that go wrong, ``POST /__gone/1``
lets it answer nobody, ``GET /__state`` tells the counts of what went wrong and every object with its size and hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from chaos.s3_uploads import Uploads, instant

ERRORS = ((500, "InternalError"), (503, "SlowDown"))
SLOW_PREFIX, SLOW_SECONDS = "archive/", 0.1  # so that who lists can be hit meanwhile


class Bucket:
    """All objects, whatever their bucket, and what was done to those who asked."""

    def __init__(self, seed: int) -> None:
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, float] = {}  # when, in seconds of the epoch
        self.rate = 0.0
        self.is_gone = False
        self.faults: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.dice = random.Random(seed)
        self.uploads = Uploads()

    def keep(self, key: str, body: bytes) -> None:
        """Store an object; the caller holds the lock."""
        self.objects[key] = body
        self.written[key] = time.time()


class Handler(BaseHTTPRequestHandler):
    """Answer one connection."""

    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """Bear clients that are killed."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def parse_request(self) -> bool:
        """Hang up before anything is answered while the storage is gone."""
        is_heard = super().parse_request()
        if is_heard and self.bucket.is_gone and not self.path.startswith("/__"):
            self.close_connection = True
            with self.bucket.lock:
                self.bucket.faults["not answered"] += 1
            return False
        return is_heard

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/__state":
            state = {
                "faults": self.bucket.faults,
                "objects": {
                    key: {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
                    for key, body in list(self.bucket.objects.items())
                },
                "uploads": self.bucket.uploads.counts,
                "unfinished": self.bucket.uploads.left(),
            }
            self._send(200, json.dumps(state).encode())
        elif (fault := self._fault(("error", "error", "cut"))) == "error":
            self._refuse()
        elif "uploads" in parse_qs(url.query, keep_blank_values=True):
            self._list_uploads(url.path, parse_qs(url.query))
        elif "list-type" in parse_qs(url.query) or url.path.count("/") < 2:
            self._list(url.path, parse_qs(url.query))
        else:
            self._object(unquote(url.path), cut=fault == "cut")

    def do_HEAD(self) -> None:
        if self._fault(("error",)):
            self._send(503, b"", length=0)
            return
        body = self.bucket.objects.get(unquote(urlsplit(self.path).path))
        if body is None:
            self._send(404, b"", length=0)
        else:
            self._send(200, b"", length=len(body), etag=hashlib.md5(body).hexdigest())

    def do_PUT(self) -> None:
        body = self._body()
        fault = self._fault(("error", "stored, but said error"))
        if fault == "error":
            self._refuse()
            return
        url = urlsplit(self.path)
        key, query = unquote(url.path), parse_qs(url.query)
        known = True
        with self.bucket.lock:
            if "uploadId" in query:
                number = int(query["partNumber"][0])
                known = self.bucket.uploads.put(query["uploadId"][0], number, body)
            else:
                self.bucket.keep(key, body)
        if not known:
            self._error(404, "NoSuchUpload")
            return
        if fault:
            self._refuse()
        else:
            self._send(200, b"", etag=hashlib.md5(body).hexdigest())

    def do_POST(self) -> None:
        body = self._body()
        url = urlsplit(self.path)
        if url.path.startswith("/__"):
            name, value = url.path.removeprefix("/__").split("/")
            if name == "rate":
                self.bucket.rate = float(value)
            else:
                self.bucket.is_gone = value == "1"
            self._send(200, b"")
            return
        fault = self._fault(("error", "done, but said error"))
        if fault == "error":
            self._refuse()
            return
        query = parse_qs(url.query, keep_blank_values=True)
        key = unquote(url.path)
        with self.bucket.lock:
            answer = self._do(key, query, body)
        if answer is None:
            self._error(404, "NoSuchUpload")
        elif fault:
            self._refuse()
        else:
            self._xml(answer)

    def _do(self, key: str, query: dict[str, list[str]], body: bytes) -> str | None:
        """Do what a POST asks and return the answer; None when there is no such upload."""
        if "uploads" in query:
            upload = f"u{self.bucket.dice.getrandbits(64):016x}"
            self.bucket.uploads.begin(upload, key)
            return f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
        if "uploadId" in query:
            numbers = [int(number) for number in _texts(body, "PartNumber")]
            whole = self.bucket.uploads.complete(query["uploadId"][0], numbers)
            if whole is None:
                return None
            self.bucket.keep(key, whole)
            etag = hashlib.md5(whole).hexdigest()
            return f"<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
        for found in _texts(body, "Key"):
            self.bucket.objects.pop(f"{key.rstrip('/')}/{found}", None)
        return "<DeleteResult></DeleteResult>"

    def do_DELETE(self) -> None:
        url = urlsplit(self.path)
        if self._fault(("error",)):
            self._refuse()
            return
        query = parse_qs(url.query)
        known = True
        with self.bucket.lock:
            if "uploadId" in query:
                known = self.bucket.uploads.abort(query["uploadId"][0])
            else:
                self.bucket.objects.pop(unquote(url.path), None)
        if known:
            self._send(204, b"", length=0)
        else:
            self._error(404, "NoSuchUpload")

    def _object(self, key: str, *, cut: bool) -> None:
        body = self.bucket.objects.get(key)
        if body is None:
            self._error(404, "NoSuchKey")
            return
        etag = hashlib.md5(body).hexdigest()
        if self.headers.get("If-Match", f'"{etag}"').strip('"') != etag:
            self._error(412, "PreconditionFailed")
            return
        headers, status, piece = {}, 200, body
        if wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or len(body) - 1), len(body) - 1)
            if start >= len(body):
                self._error(416, "InvalidRange")
                return
            piece, status = body[start : end + 1], 206
            headers = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
        if cut:
            self.close_connection = True
            self._send(status, piece[: len(piece) // 2], length=len(piece), etag=etag, **headers)
        else:
            self._send(status, piece, etag=etag, **headers)

    def _list(self, path: str, query: dict[str, list[str]]) -> None:
        bucket = unquote(path).strip("/")
        prefix = query.get("prefix", [""])[0]
        if prefix.startswith(SLOW_PREFIX):
            time.sleep(SLOW_SECONDS)
        after = query.get("continuation-token", query.get("start-after", [""]))[0]
        most = int(query.get("max-keys", ["1000"])[0])
        with self.bucket.lock:
            names = sorted(
                name
                for key in self.bucket.objects
                if key.startswith(f"/{bucket}/") and (name := key[len(bucket) + 2 :]).startswith(prefix)
            )
        names = [name for name in names if name > after]
        page = names[:most]
        rows = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(body)}</Size>"
            f"<ETag>&quot;{hashlib.md5(body).hexdigest()}&quot;</ETag>"
            f"<LastModified>{instant(self.bucket.written[f'/{bucket}/{name}'])}</LastModified></Contents>"
            for name in page
            if (body := self.bucket.objects.get(f"/{bucket}/{name}")) is not None
        )
        more = len(names) > most
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._xml(
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )

    def _list_uploads(self, path: str, query: dict[str, list[str]]) -> None:
        behind = (query.get("key-marker", [""])[0], query.get("upload-id-marker", [""])[0])
        most = int(query.get("max-uploads", ["1000"])[0])
        with self.bucket.lock:
            rows, following = self.bucket.uploads.page(
                unquote(path).strip("/"), query.get("prefix", [""])[0], behind, most
            )
        more = following != ("", "")
        markers = (
            f"<NextKeyMarker>{escape(following[0])}</NextKeyMarker>"
            f"<NextUploadIdMarker>{following[1]}</NextUploadIdMarker>"
        )
        self._xml(
            f"<ListMultipartUploadsResult><IsTruncated>{str(more).lower()}</IsTruncated>{markers if more else ''}"
            f"{rows}</ListMultipartUploadsResult>"
        )

    def _fault(self, kinds: tuple[str, ...]) -> str | None:
        with self.bucket.lock:
            if self.bucket.dice.random() >= self.bucket.rate:
                return None
            fault = self.bucket.dice.choice(kinds)
            self.bucket.faults[fault] += 1
            return fault

    def _refuse(self) -> None:
        with self.bucket.lock:
            status, code = self.bucket.dice.choice(ERRORS)
        self._error(status, code)

    def _error(self, status: int, code: str) -> None:
        self._xml(f"<Error><Code>{code}</Code><Message>on purpose</Message></Error>", status)

    def _xml(self, text: str, status: int = 200) -> None:
        self._send(status, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode(), kind="application/xml")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(
        self,
        status: int,
        body: bytes,
        *,
        length: int | None = None,
        etag: str = "",
        kind: str = "",
        **headers: str,
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Last-Modified", formatdate(usegmt=True))
        if etag:
            self.send_header("ETag", f'"{etag}"')
        if kind:
            self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _texts(body: bytes, tag: str) -> list[str]:
    return [piece.partition(f"</{tag}>")[0] for piece in body.decode().split(f"<{tag}>")[1:]]


def _end_with(parent: int) -> None:
    """End this process when whoever started it is gone."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)


def main() -> None:
    """Serve until the process is ended."""
    handler = type("Bound", (Handler,), {"bucket": Bucket(int(sys.argv[2]))})
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), handler)
    server.daemon_threads = True
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
