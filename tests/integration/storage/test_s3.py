"""Hold the S3 store to what only S3 does: denied access, archives, broken bodies, unfinished uploads."""

from __future__ import annotations

import http.server
import threading
import urllib.request
from dataclasses import replace

import pytest

import storage.s3
from storage import (
    InputAccessDenied,
    InputArchived,
    InputChanged,
    InputNotFound,
    S3Options,
    StorageUnavailable,
    open_store,
)
from storage.s3 import S3Store

pytestmark = pytest.mark.integration


@pytest.fixture
def locked(s3_endpoint):
    """The server checks credentials while this is in use."""

    def after(requests: str) -> None:
        body = urllib.request.Request(
            f"{s3_endpoint}/moto-api/reset-auth",
            requests.encode(),
            {"Content-Type": "text/plain"},
            method="POST",
        )
        urllib.request.urlopen(body).close()

    after("0")
    yield
    after("inf")


class FlakyBodies(http.server.BaseHTTPRequestHandler):
    """Serve ten bytes; break off after four for the first ``failures`` ranged reads."""

    content, etag = b"0123456789", '"v1"'
    failures = 0
    gets = 0
    shorter = False  # send fewer bytes than asked, and say so
    pinned = None

    def do_HEAD(self):
        self._head(200, len(self.content))

    def do_GET(self):
        cls = type(self)
        cls.gets += 1
        first, last = (int(place) for place in self.headers["Range"].removeprefix("bytes=").split("-"))
        cls.pinned = self.headers["If-Match"]
        body = self.content[first : last + 1 - cls.shorter]
        self._head(206, len(body), {"Content-Range": f"bytes {first}-{last}/{len(self.content)}"})
        self.wfile.write(body[:4] if cls.gets <= cls.failures else body)

    def _head(self, status, length, more=()):
        self.send_response(status)
        for name, value in {
            "Content-Length": str(length),
            "ETag": self.etag,
            "Last-Modified": "Sun, 01 Nov 2026 00:00:00 GMT",
            **dict(more),
        }.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def flaky(monkeypatch):
    monkeypatch.setattr(storage.s3, "FIRST_PAUSE_SECONDS", 0.001)
    handler = type("Handler", (FlakyBodies,), {})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    options = S3Options(
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        region="us-east-1",
        path_style=True,
        access_key_id="a",
        secret_access_key="b",
    )
    yield handler, S3Store(options)
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_body_that_breaks_off_is_asked_for_again(flaky):
    handler, store = flaky
    handler.failures = 4
    assert store.read("s3://bucket/a", 0, 10) == b"0123456789"
    assert handler.gets == 5


def test_every_block_of_a_stream_has_its_own_tries(flaky):
    handler, store = flaky
    handler.failures = 4
    assert list(store.stream("s3://bucket/a", block_bytes=6)) == [b"012345", b"6789"]


def test_a_body_that_always_breaks_off_is_an_unavailable_storage(flaky):
    handler, store = flaky
    handler.failures = 1_000
    with pytest.raises(StorageUnavailable, match="broke off 5 times") as raised:
        store.read("s3://bucket/a", 0, 10)
    assert raised.value.retryable
    assert raised.value.__cause__ is not None  # what the last of them met
    assert handler.gets == 5


def test_an_honest_answer_that_is_too_short_is_not_taken(flaky):
    handler, store = flaky
    handler.shorter = True
    with pytest.raises(StorageUnavailable):
        store.read("s3://bucket/a", 0, 10)


def test_reads_of_a_version_are_pinned_by_the_server(flaky):
    handler, store = flaky
    store.read("s3://bucket/a", 0, 10)
    assert handler.pinned is None
    store.read("s3://bucket/a", 0, 10, version="v1")
    assert handler.pinned == '"v1"'
    handler.pinned = None
    list(store.stream("s3://bucket/a"))
    assert handler.pinned == '"v1"'


def test_a_server_that_ignores_if_match_is_found_out(flaky):
    handler, store = flaky
    version = store.head("s3://bucket/a").version
    handler.etag = '"v2"'
    with pytest.raises(InputChanged):
        store.read("s3://bucket/a", 0, 10, version=version)


def test_no_access_is_denied(s3_store, bucket, locked):
    for uri in (f"s3://{bucket}/a", f"s3://{bucket}/b/c"):
        with pytest.raises(InputAccessDenied) as raised:
            s3_store.head(uri)
        assert (raised.value.code, raised.value.retryable) == ("input_access_denied", False)
    with pytest.raises(InputAccessDenied), s3_store.writer(f"s3://{bucket}/a") as writer:
        writer.write(b"x")


def test_an_archived_object_says_that_it_has_to_be_restored(s3_client, s3_store, bucket):
    s3_client.put_object(Bucket=bucket, Key="cold", Body=b"abc", StorageClass="GLACIER")
    with pytest.raises(InputArchived, match="restore"):
        s3_store.read(f"s3://{bucket}/cold", 0, 3)


def test_a_missing_bucket_is_not_found(s3_store):
    for use in (
        lambda store: store.head("s3://no-such-bucket/a"),
        lambda store: list(store.list("s3://no-such-bucket")),
    ):
        with pytest.raises(InputNotFound):
            use(s3_store)


def test_a_failed_upload_leaves_no_parts_that_cost_money(s3_client, s3_store, bucket):
    def fail_midway():
        with s3_store.writer(f"s3://{bucket}/a") as writer:
            writer.write(bytes(20_000_000))
            assert len(s3_client.list_multipart_uploads(Bucket=bucket)["Uploads"]) == 1
            raise RuntimeError("the caller failed")

    with pytest.raises(RuntimeError, match="the caller failed"):
        fail_midway()
    assert "Uploads" not in s3_client.list_multipart_uploads(Bucket=bucket)


def test_a_writer_never_takes_the_object_of_another_for_its_own(s3_client, s3_store, bucket, monkeypatch):
    honest = s3_store.head

    def overtaken(uri):
        s3_client.put_object(Bucket=bucket, Key="a", Body=b"another's")
        return honest(uri)

    monkeypatch.setattr(s3_store, "head", overtaken)
    with pytest.raises(InputChanged, match="another writer"), s3_store.writer(f"s3://{bucket}/a") as writer:
        writer.write(b"mine")


def test_a_small_object_is_one_put(s3_store, bucket):
    with s3_store.writer(f"s3://{bucket}/a") as writer:
        writer.write(bytes(100))
    assert "-" not in writer.info.version  # the ETag of an upload in parts ends in their number


def test_a_server_that_is_gone_is_an_unavailable_storage_and_no_secret_is_told(s3_options):
    gone = replace(s3_options, endpoint_url="http://user:password@127.0.0.1:9", attempts=1)
    with pytest.raises(StorageUnavailable) as raised:
        S3Store(gone).head("s3://bucket/a")
    for text in (str(raised.value), repr(gone)):
        assert "secret-of-the-test" not in text
    assert "password" not in str(raised.value)


def test_the_router_serves_both_schemes(s3_options, bucket, tmp_path):
    store = open_store(f"s3://{bucket}/prefix", roots=[tmp_path], s3=s3_options)
    (tmp_path / "a.wav").write_bytes(b"abc")
    assert store.read(f"file://{tmp_path}/a.wav", 0, 3) == b"abc"
    with store.writer(f"s3://{bucket}/prefix/a") as writer:
        writer.write(b"abc")
    assert [info.size_bytes for info in store.list(f"s3://{bucket}/prefix/")] == [3]
    store.delete(f"s3://{bucket}/prefix/a")
    with pytest.raises(InputNotFound):
        list(store.stream(f"s3://{bucket}/prefix/a"))
