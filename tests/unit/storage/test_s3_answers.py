"""Translate what S3 servers answer into our facts."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from storage import S3Options
from storage.errors import (
    InputAccessDenied,
    InputArchived,
    InputChanged,
    InputNotFound,
    InputWrongRegion,
    InvalidRange,
    StorageUnavailable,
)
from storage.s3 import S3Store


def answer(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "secret"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "GetObject",
    )


@pytest.mark.parametrize(
    ("error", "fact", "code", "retryable"),
    [
        (answer("404", 404), InputNotFound, "input_not_found", False),
        (answer("NoSuchBucket", 404), InputNotFound, "input_not_found", False),
        (answer("AccessDenied", 403), InputAccessDenied, "input_access_denied", False),
        (answer("SomethingNew", 403), InputAccessDenied, "input_access_denied", False),
        (answer("PermanentRedirect", 301), InputWrongRegion, "input_wrong_region", False),
        (answer("AuthorizationHeaderMalformed", 400), InputWrongRegion, "input_wrong_region", False),
        (answer("InvalidObjectState", 403), InputArchived, "input_archived", False),
        (answer("PreconditionFailed", 412), InputChanged, "input_changed", False),
        (answer("InvalidRange", 416), InvalidRange, "invalid_range", False),
        (answer("SlowDown", 503), StorageUnavailable, "storage_unavailable", True),
        (answer("InternalError", 500), StorageUnavailable, "storage_unavailable", True),
        (NoCredentialsError(), InputAccessDenied, "input_access_denied", False),
        (
            EndpointConnectionError(endpoint_url="http://secret@host"),
            StorageUnavailable,
            "storage_unavailable",
            True,
        ),
    ],
)
def test_every_answer_has_its_fact(monkeypatch, error, fact, code, retryable):
    store = S3Store(S3Options(region="us-east-1", access_key_id="a", secret_access_key="b"))

    def refuse(**_options):
        raise error

    monkeypatch.setattr(store._client, "head_object", refuse)
    with pytest.raises(fact) as raised:
        store.head("s3://bucket/key")
    assert (raised.value.code, raised.value.retryable) == (code, retryable)
    assert "secret" not in str(raised.value)
