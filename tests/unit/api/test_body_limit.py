from __future__ import annotations

import asyncio

import pytest

from api.body_limit import MAX_BODY_BYTES, MULTIPART_OVERHEAD_BYTES, BodyLimit, BodyTooLarge


def read(path: str, pieces: list[int], declared: int | None = None) -> int:
    """Send pieces of these sizes through the limit to an application that counts them."""
    messages = iter(
        [{"type": "http.request", "body": b"x" * size, "more_body": True} for size in pieces]
        + [{"type": "http.request", "body": b"", "more_body": False}]
    )
    counted = 0

    async def application(scope, receive, send):
        nonlocal counted
        while (message := await receive())["more_body"]:
            counted += len(message["body"])

    async def receive():
        return next(messages)

    headers = [] if declared is None else [(b"content-length", str(declared).encode())]
    limit = BodyLimit(application, uploads="/v1/uploads", max_upload_bytes=5_000_000)
    asyncio.run(limit({"type": "http", "path": path, "headers": headers}, receive, None))
    return counted


def test_a_body_of_the_limit_passes():
    assert read("/v1/jobs", [MAX_BODY_BYTES - 1, 1]) == MAX_BODY_BYTES


@pytest.mark.parametrize("pieces", [[MAX_BODY_BYTES + 1], [MAX_BODY_BYTES, 1], [1] * 10 + [MAX_BODY_BYTES]])
def test_one_byte_more_does_not_however_it_comes(pieces):
    with pytest.raises(BodyTooLarge):
        read("/v1/jobs", pieces)


def test_a_declared_length_is_refused_before_anything_is_read():
    with pytest.raises(BodyTooLarge):
        read("/v1/jobs", [], declared=MAX_BODY_BYTES + 1)


def test_a_false_declaration_does_not_help():
    with pytest.raises(BodyTooLarge):
        read("/v1/jobs", [MAX_BODY_BYTES + 1], declared=3)


@pytest.mark.parametrize("path", ["/v1/uploads", "/proxied/v1/uploads"])
def test_uploads_have_a_limit_of_their_own(path):
    assert read(path, [5_000_000]) == 5_000_000
    with pytest.raises(BodyTooLarge):
        read(path, [5_000_000 + MULTIPART_OVERHEAD_BYTES + 1])
