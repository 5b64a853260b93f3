"""Start an S3 server from a wheel and offer both stores."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

from storage import FolderStore, ObjectStore, S3Options, folder_uri
from storage.s3 import S3Store


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="session")
def s3_options(s3_endpoint) -> S3Options:
    return S3Options(
        endpoint_url=s3_endpoint,
        region="us-east-1",
        path_style=True,
        access_key_id="key-of-the-test",
        secret_access_key="secret-of-the-test",
    )


@pytest.fixture(scope="session")
def s3_store(s3_options) -> S3Store:
    return S3Store(s3_options)


@pytest.fixture(scope="session")
def s3_client(s3_options):
    client = boto3.client(
        "s3",
        endpoint_url=s3_options.endpoint_url,
        region_name=s3_options.region,
        aws_access_key_id=s3_options.access_key_id,
        aws_secret_access_key=s3_options.secret_access_key,
    )
    yield client
    client.close()


@pytest.fixture
def bucket(s3_client) -> str:
    name = f"bucket-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "s3"])
def place(request, tmp_path) -> tuple[ObjectStore, str]:
    """A store and the URI of an empty place in it."""
    if request.param == "folder":
        return FolderStore([tmp_path]), folder_uri(tmp_path)
    return request.getfixturevalue("s3_store"), f"s3://{request.getfixturevalue('bucket')}"
