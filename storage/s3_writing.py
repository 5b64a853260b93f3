"""Write one object to S3, in parts when it is large."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from storage.errors import InputChanged
from storage.s3_answers import translated, version_of
from storage.store import ObjectInfo
from storage.uris import parse_s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

logger = logging.getLogger(__name__)

PART_BYTES = 16 * 1024 * 1024  # at most 10,000 parts make an object: 160 GiB


class S3Writer:
    """Collect a part and send it; an object of one part is a single PUT."""

    def __init__(self, client: S3Client, uri: str) -> None:
        self._client, self._uri = client, uri
        self._bucket, self._key = parse_s3(uri)
        self._buffer = bytearray()
        self._parts: list[CompletedPartTypeDef] = []
        self._upload_id: str | None = None
        self._info: ObjectInfo | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``; sends whole parts."""
        self._buffer += data
        while len(self._buffer) >= PART_BYTES:
            self._send_part(bytes(memoryview(self._buffer)[:PART_BYTES]))
            del self._buffer[:PART_BYTES]

    @property
    def info(self) -> ObjectInfo:
        """The finished object."""
        if self._info is None:
            raise RuntimeError("the object is not finished before the with block has ended")
        return self._info

    def commit(self, head: Callable[[str], ObjectInfo]) -> None:
        """Make the object visible; raises ``InputChanged`` when ``head`` finds that of another writer in its place."""
        etag = self._put() if self._upload_id is None else self._complete()
        info = head(self._uri)
        if info.version != version_of(etag):
            raise InputChanged(f"{self._uri} was replaced by another writer at the same time")
        self._info, self._upload_id = info, None

    def abort(self) -> None:
        """Drop the parts that were sent; the error that led here is the one worth telling."""
        if self._upload_id is not None:
            try:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=self._key, UploadId=self._upload_id
                )
            except (BotoCoreError, ClientError) as error:
                logger.warning(
                    "%s: sent parts stay until they are swept: %s", self._uri, type(error).__name__
                )

    def _put(self) -> str:
        with translated(self._uri):
            return self._client.put_object(Bucket=self._bucket, Key=self._key, Body=bytes(self._buffer))[
                "ETag"
            ]

    def _send_part(self, data: bytes) -> None:
        with translated(self._uri):
            if self._upload_id is None:
                self._upload_id = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key)[
                    "UploadId"
                ]
            number = len(self._parts) + 1
            sent = self._client.upload_part(
                Bucket=self._bucket, Key=self._key, UploadId=self._upload_id, PartNumber=number, Body=data
            )
        self._parts.append({"ETag": sent["ETag"], "PartNumber": number})

    def _complete(self) -> str:
        if self._buffer:
            self._send_part(bytes(self._buffer))
        assert self._upload_id is not None
        with translated(self._uri):
            return self._client.complete_multipart_upload(
                Bucket=self._bucket,
                Key=self._key,
                UploadId=self._upload_id,
                MultipartUpload={"Parts": self._parts},
            )["ETag"]
