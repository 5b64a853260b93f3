"""Hold the sweep of unfinished uploads in parts against an S3 server: it takes what is old and harms nothing."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer

import pytest
from botocore.exceptions import EndpointConnectionError
from chaos.s3_stub import Bucket, Handler

import storage.s3_writing
from storage import S3Options, StorageUnavailable
from storage.s3 import S3Store

pytestmark = pytest.mark.integration

BEGUN_AT = datetime(2010, 11, 10, 20, 48, 33, tzinfo=UTC)  # moto says so of every upload
PART = bytes(5 * 2**20)  # the least that S3 takes for a part that is not the last


@pytest.fixture
def begin(s3_client, bucket):
    """Begin an upload as a writer does that is killed then: with one part."""

    def begin(key: str) -> str:
        upload_id = s3_client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        s3_client.upload_part(Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=1, Body=PART)
        return upload_id

    return begin


@pytest.fixture
def unfinished(s3_client, bucket):
    def unfinished() -> list[str]:
        found = s3_client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return sorted(one["Key"] for one in found)

    return unfinished


def test_a_sweep_takes_unfinished_uploads_and_nothing_else(s3_store, s3_client, bucket, begin, unfinished):
    with s3_store.writer(f"s3://{bucket}/ours/whole") as writer:
        writer.write(bytes(20_000_000))  # in two parts
    s3_client.put_object(Bucket=bucket, Key="ours/a", Body=b"there before")
    for key in ("ours/a", "ours/b/c", "ours/b/c", "theirs/a", "our"):
        begin(key)
    assert s3_store.sweep_unfinished(f"s3://{bucket}/ours/", datetime.now(UTC)) == 3
    assert unfinished() == ["our", "theirs/a"]
    assert s3_store.head(f"s3://{bucket}/ours/whole") == writer.info
    assert s3_store.read(f"s3://{bucket}/ours/a", 0, 12) == b"there before"
    assert s3_store.sweep_unfinished(f"s3://{bucket}/ours/", datetime.now(UTC)) == 0


def test_a_sweep_leaves_what_began_later(s3_store, bucket, begin, unfinished):
    begin("ours/a")
    assert s3_store.sweep_unfinished(f"s3://{bucket}/ours/", BEGUN_AT) == 0
    assert unfinished() == ["ours/a"]
    assert s3_store.sweep_unfinished(f"s3://{bucket}/ours/", BEGUN_AT + timedelta(seconds=1)) == 1
    assert unfinished() == []


def test_a_sweep_goes_on_when_an_upload_ends_meanwhile(
    s3_options, s3_client, bucket, begin, unfinished, monkeypatch
):
    uploads = {key: begin(key) for key in ("ours/a", "ours/b", "ours/c")}
    listed = s3_client.list_multipart_uploads(Bucket=bucket)  # as the sweep reads it
    s3_client.abort_multipart_upload(Bucket=bucket, Key="ours/a", UploadId=uploads["ours/a"])

    class Listing:
        def paginate(self, **_options):
            return [listed]

    sweeper = S3Store(s3_options)
    monkeypatch.setattr(sweeper._client, "get_paginator", lambda _name: Listing())
    assert sweeper.sweep_unfinished(f"s3://{bucket}/ours/", datetime.now(UTC)) == 2
    assert unfinished() == []


@pytest.fixture
def stub():
    """A server of ours that knows when uploads began, and lists them in pages."""
    handler = type("Bound", (Handler,), {"bucket": Bucket(1)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    options = S3Options(
        endpoint_url=f"http://127.0.0.1:{server.server_port}",
        region="us-east-1",
        path_style=True,
        access_key_id="a",
        secret_access_key="b",
    )
    yield handler.bucket, S3Store(options)
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_sweep_goes_through_all_pages_and_looks_at_each_age(stub):
    bucket, store = stub
    for number in range(2_500):
        bucket.uploads.begin(f"u{number:04}", f"/calls/ours/{number % 7}")
    for upload in list(bucket.uploads._open.values())[:400]:
        upload.began -= 90_000
    day_ago = datetime.now(UTC) - timedelta(days=1)
    assert store.sweep_unfinished("s3://calls/ours/", day_ago) == 400
    assert len(bucket.uploads.left()) == 2_100
    assert store.sweep_unfinished("s3://calls/ours/", datetime.now(UTC) + timedelta(seconds=1)) == 2_100


def test_a_writer_whose_upload_was_swept_fails_in_a_way_that_another_try_can_mend(stub, monkeypatch):
    bucket, store = stub  # moto has no answer to a part of an upload that is gone
    monkeypatch.setattr(storage.s3_writing, "PART_BYTES", 10)

    def be_swept():
        with store.writer("s3://calls/ours/a") as writer:
            writer.write(b"0123456789abc")
            later = datetime.now(UTC) + timedelta(seconds=1)
            assert store.sweep_unfinished("s3://calls/ours/", later) == 1
            writer.write(b"0123456789abc")

    with pytest.raises(StorageUnavailable, match="upload in parts") as raised:
        be_swept()
    assert raised.value.retryable
    assert bucket.objects == {}
    assert bucket.uploads.left() == []


def test_parts_that_cannot_be_dropped_are_said_and_the_error_before_stays(stub, monkeypatch, caplog):
    _, store = stub
    monkeypatch.setattr(storage.s3_writing, "PART_BYTES", 10)

    def refuse(**_):
        raise EndpointConnectionError(endpoint_url="http://s3")

    def fail():
        with store.writer("s3://calls/ours/a") as writer:
            writer.write(b"0123456789abc")
            monkeypatch.setattr(store._client, "abort_multipart_upload", refuse)
            raise ValueError("of the source")

    with pytest.raises(ValueError, match="of the source"):
        fail()
    (record,) = [one for one in caplog.records if one.name == "storage.s3_writing"]
    assert record.getMessage() == (
        "s3://calls/ours/a: sent parts stay until they are swept: EndpointConnectionError"
    )


def test_an_upload_whose_end_got_no_answer_is_tried_again(stub, monkeypatch):
    bucket, store = stub
    monkeypatch.setattr(storage.s3_writing, "PART_BYTES", 10)
    complete = bucket.uploads.complete
    bucket.uploads.complete = lambda upload_id, numbers: (complete(upload_id, numbers), None)[1]
    with pytest.raises(StorageUnavailable), store.writer("s3://calls/ours/a") as writer:
        writer.write(b"0123456789abc")
    bucket.uploads.complete = complete
    with store.writer("s3://calls/ours/a") as writer:
        writer.write(b"0123456789abc")
    assert store.read("s3://calls/ours/a", 0, 13) == b"0123456789abc"
    assert bucket.uploads.left() == []
