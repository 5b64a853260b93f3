"""Keep objects in S3, or in anything that speaks its protocol.

Reads are ranged and pinned to one ETag. A crash while writing leaves an unfinished multipart upload, which is
invisible but paid for: ``sweep_unfinished`` aborts those, where the credentials may list them
(``s3:ListBucketMultipartUploads``); a lifecycle rule of the bucket does the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import boto3
from botocore.config import Config
from botocore.exceptions import HTTPClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from storage.errors import InputChanged, InvalidRange, StorageUnavailable
from storage.s3_answers import CHANGED, translated, version_of
from storage.s3_options import S3Options
from storage.s3_writing import S3Writer
from storage.store import BLOCK_BYTES, ObjectInfo
from storage.uris import parse_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PAGE_KEYS = 1_000  # of a listing; what S3 gives at most
FIRST_PAUSE_SECONDS = 0.1  # before a block is asked for again; doubles each time

# HTTPError and ConnectionError: what is raised while a body is read and botocore does not wrap.
_BROKEN_BODY = (HTTPClientError, IncompleteReadError, HTTPError, ConnectionError)


class S3Store:
    """Store objects under ``s3://bucket/key`` URIs."""

    def __init__(self, options: S3Options) -> None:
        self._attempts = options.attempts
        self._client: S3Client = boto3.session.Session().client(
            "s3",
            endpoint_url=options.endpoint_url,
            region_name=options.region,
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            config=_client_config(options),
        )

    def head(self, uri: str) -> ObjectInfo:
        """Return size, ETag and time of an object; see ``ObjectStore``."""
        bucket, key = parse_s3(uri)
        with translated(uri):
            found = self._client.head_object(Bucket=bucket, Key=key)
        return ObjectInfo(
            uri, found["ContentLength"], version_of(found["ETag"]), found["LastModified"].astimezone(UTC)
        )

    def read(self, uri: str, start: int, end: int, *, version: str | None = None) -> bytes:
        """Return a byte range of an object; see ``ObjectStore``."""
        if not 0 <= start <= end:
            raise InvalidRange(f"bytes {start} to {end} are no range")
        return b"" if start == end else self._get(uri, start, end, version)

    def stream(
        self, uri: str, *, version: str | None = None, block_bytes: int = BLOCK_BYTES
    ) -> Iterator[bytes]:
        """Yield an object in ranged reads, all pinned to one ETag; see ``ObjectStore``."""
        info = self.head(uri)
        if version not in (None, info.version):
            raise InputChanged(f"{uri}: {CHANGED}")
        for start in range(0, info.size_bytes, block_bytes):
            yield self._get(uri, start, min(start + block_bytes, info.size_bytes), info.version)

    @contextmanager
    def writer(self, uri: str) -> Iterator[S3Writer]:
        """Upload an object, in parts when it is large; see ``ObjectStore``."""
        writer = S3Writer(self._client, uri)
        try:
            yield writer
            writer.commit(self.head)
        except BaseException:
            writer.abort()
            raise

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectInfo]:
        """Yield the objects below a prefix, page by page; see ``ObjectStore``."""
        bucket, key_prefix = parse_s3(prefix, need_key=False)
        # A key to start behind is good for ever; the tokens between pages are not.
        behind: dict[str, Any] = (
            {} if after is None else {"StartAfter": after.removeprefix(f"s3://{bucket}/")}
        )
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Prefix=key_prefix, PaginationConfig={"PageSize": PAGE_KEYS}, **behind
        )
        with translated(prefix):
            for page in pages:
                for found in page.get("Contents", []):
                    yield ObjectInfo(
                        f"s3://{bucket}/{found['Key']}",
                        found["Size"],
                        version_of(found["ETag"]),
                        found["LastModified"].astimezone(UTC),
                    )

    def delete(self, uri: str) -> None:
        """Remove an object; see ``ObjectStore``."""
        bucket, key = parse_s3(uri)
        with translated(uri):
            self._client.delete_object(Bucket=bucket, Key=key)

    def check(self, prefix: str) -> None:
        """List one key: who may use a part of a bucket alone may not ask for the bucket; see ``ObjectStore``."""
        bucket, key_prefix = parse_s3(prefix, need_key=False)
        with translated(prefix):
            self._client.list_objects_v2(Bucket=bucket, Prefix=key_prefix, MaxKeys=1)

    def sweep_unfinished(self, prefix: str, before: datetime) -> int:
        """Abort multipart uploads that nobody completed; see ``ObjectStore``."""
        bucket, key_prefix = parse_s3(prefix, need_key=False)
        pages = self._client.get_paginator("list_multipart_uploads").paginate(
            Bucket=bucket, Prefix=key_prefix
        )
        swept = 0
        with translated(prefix):
            for page in pages:
                for upload in page.get("Uploads", []):
                    if upload["Initiated"] < before:
                        swept += self._abort(bucket, upload["Key"], upload["UploadId"])
        return swept

    def _abort(self, bucket: str, key: str, upload_id: str) -> bool:
        """Abort an upload; False when it has ended meanwhile, by its writer or by another sweep."""
        try:
            self._client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
        except self._client.exceptions.NoSuchUpload:
            return False
        return True

    def _get(self, uri: str, start: int, end: int, version: str | None) -> bytes:
        """Fetch a range, again when its body breaks off: the client's own retries end where it begins."""
        broke: Exception | None = None
        for attempt in range(self._attempts):
            if attempt:
                time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            try:
                body = self._get_once(uri, start, end, version)
            except _BROKEN_BODY as error:
                broke = error
                continue
            if len(body) == end - start:
                return body
        told = f"{uri}: bytes {start} to {end} broke off {self._attempts} times"
        raise StorageUnavailable(told, uri=uri) from broke

    def _get_once(self, uri: str, start: int, end: int, version: str | None) -> bytes:
        bucket, key = parse_s3(uri)
        pinned: dict[str, Any] = {} if version is None else {"IfMatch": f'"{version}"'}
        with translated(uri, keep=_BROKEN_BODY):
            found = self._client.get_object(
                Bucket=bucket, Key=key, Range=f"bytes={start}-{end - 1}", **pinned
            )
            with found["Body"] as stream:
                _check_range(uri, found.get("ContentRange", ""), end)
                # Some servers ignore If-Match.
                if version not in (None, version_of(found["ETag"])):
                    raise InputChanged(f"{uri}: {CHANGED}")
                return stream.read()


def _client_config(options: S3Options) -> Config:
    # Other servers do not all know the checksums that the client adds on its own since 2025.
    checksums: Literal["when_supported", "when_required"]
    checksums = "when_supported" if options.endpoint_url is None else "when_required"
    return Config(
        connect_timeout=options.connect_timeout_seconds,
        read_timeout=options.read_timeout_seconds,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        max_pool_connections=options.connections,
        s3={"addressing_style": "path" if options.path_style else "auto"},
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )


def _check_range(uri: str, content_range: str, end: int) -> None:
    """Refuse an answer that was cut because the object ends early: ``bytes 0-9/10`` tells its whole size."""
    size = content_range.rpartition("/")[2]
    if size.isdecimal() and int(size) < end:
        raise InvalidRange(f"{uri} holds {size} bytes, fewer than the {end} that were asked for")
