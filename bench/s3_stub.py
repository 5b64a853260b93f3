"""Be a small S3 server that lists as fast as it is asked: keys are made up, and nothing is stored.

``GET /bucket?list-type=2`` pages by ``start-after`` and by token, 1,000 keys at most; ``HEAD`` and ``GET`` of a key
answer with its few bytes, ranges and ``If-Match`` included. No signature is checked. For benches and tests only.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE_KEYS = 1_000
MODIFIED_XML, MODIFIED_HTTP = "2026-01-02T03:04:05.000Z", "Fri, 02 Jan 2026 03:04:05 GMT"


class _Bucket(ThreadingHTTPServer):
    daemon_threads = True
    keys: Sequence[str] = ()
    fail_first = 0  # answers of 503 before the first good listing


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Bucket

    def do_GET(self) -> None:
        """List, or read an object."""
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if "list-type" in asked:
            self._list(asked)
        else:
            self._read(unquote(parts.path).split("/", 2)[2])

    do_HEAD = do_GET

    def _list(self, asked: dict[str, str]) -> None:
        if self.server.fail_first:
            self.server.fail_first -= 1
            self._send(503, _error("SlowDown"), "application/xml")
            return
        prefix, keys = asked.get("prefix", ""), self.server.keys
        after = asked.get("start-after", "")
        if token := asked.get("continuation-token"):
            after = base64.urlsafe_b64decode(token).decode()
        start = max(bisect_left(keys, prefix), bisect_right(keys, after))
        most = min(int(asked.get("max-keys", PAGE_KEYS)), PAGE_KEYS)
        page = [key for key in keys[start : start + most] if key.startswith(prefix)]
        more = len(page) == most and start + most < len(keys) and keys[start + most].startswith(prefix)
        following = base64.urlsafe_b64encode(page[-1].encode()).decode() if more else ""
        contents = "".join(
            f"<Contents><Key>{quote(key, safe='/')}</Key><LastModified>{MODIFIED_XML}</LastModified>"
            f"<ETag>&quot;{etag(key)}&quot;</ETag><Size>{len(key.encode())}</Size>"
            "<StorageClass>STANDARD</StorageClass></Contents>"
            for key in page
        )
        token_xml = f"<NextContinuationToken>{following}</NextContinuationToken>" if more else ""
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><Prefix>{escape(quote(prefix))}</Prefix><KeyCount>{len(page)}</KeyCount>"
            f"<MaxKeys>{most}</MaxKeys><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token_xml}{contents}</ListBucketResult>"
        )
        self._send(200, body.encode(), "application/xml")

    def _read(self, key: str) -> None:
        place = bisect_left(self.server.keys, key)
        if place == len(self.server.keys) or self.server.keys[place] != key:
            self._send(404, _error("NoSuchKey"), "application/xml")
            return
        if self.headers.get("If-Match", etag(key)).strip('"') != etag(key):
            self._send(412, _error("PreconditionFailed"), "application/xml")
            return
        body = key.encode()
        if wanted := self.headers.get("Range"):
            first, last = (int(number) for number in wanted.removeprefix("bytes=").split("-"))
            span = f"bytes {first}-{min(last, len(body) - 1)}/{len(body)}"
            self._send(
                206, body[first : last + 1], "audio/wav", {"ETag": f'"{etag(key)}"', "Content-Range": span}
            )
        else:
            self._send(200, body, "audio/wav", {"ETag": f'"{etag(key)}"'})

    def _send(self, status: int, body: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Last-Modified": MODIFIED_HTTP}
        for name, value in {**headers, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def etag(key: str) -> str:
    """Return the version of a key's object; equal keys have equal bytes."""
    return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()


def _error(code: str) -> bytes:
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code}</Message></Error>'.encode()


@contextmanager
def s3_stub(keys: Sequence[str], *, fail_first: int = 0) -> Iterator[str]:
    """Serve a bucket of any name with these keys (sorted by their bytes) and yield the endpoint's URL."""
    server = _Bucket(("127.0.0.1", 0), _Handler)
    server.keys, server.fail_first = keys, fail_first
    thread = threading.Thread(target=server.serve_forever, name="s3-stub", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
