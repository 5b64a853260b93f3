from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from storage import StorageUnavailable, open_store
from storage.uploads import resolve_source

BOUNDARY = "b0undary"


def form(*parts: str, end: bool = True) -> dict:
    body = "".join(f"--{BOUNDARY}\r\n{part}\r\n" for part in parts) + (f"--{BOUNDARY}--\r\n" if end else "")
    return {
        "content": body.encode(),
        "headers": {"content-type": f"multipart/form-data; boundary={BOUNDARY}"},
    }


def part(disposition: str, content: str = "RIFF") -> str:
    return f"Content-Disposition: form-data; {disposition}\r\n\r\n{content}"


FILE = part('name="file"; filename="a.wav"')


def stored(settings) -> list[str]:
    return [str(path) for path in (settings.data_dir / "objects").rglob("*") if path.is_file()]


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 99_999, 100_000])
def test_an_upload_is_stored_byte_for_byte_under_the_uri_that_is_returned(client, settings, size):
    content = bytes(index % 251 for index in range(size))

    answer = client.post("/v1/uploads", files={"file": ("my call.wav", content)})

    assert answer.status_code == 201
    assert answer.json()["size_bytes"] == size
    uri = answer.json()["uri"]
    assert uri.startswith("upload://")
    assert uri.endswith("/my-call.wav")
    store = open_store(settings.resolved_storage_url)
    where = resolve_source(uri, "default", settings.resolved_storage_url)
    assert b"".join(store.stream(where)) == content
    assert client.post("/v1/jobs", json={"sources": [uri], "tasks": ["caption"]}).status_code == 202


def test_content_that_looks_like_a_boundary_is_kept(client, settings):
    content = f"\r\n--{BOUNDARY}x\r\n--{BOUNDARY[:-1]}--\r\n"

    uri = client.post("/v1/uploads", **form(part('name="file"; filename="a.wav"', content))).json()["uri"]

    store = open_store(settings.resolved_storage_url)
    assert (
        b"".join(store.stream(resolve_source(uri, "default", settings.resolved_storage_url)))
        == content.encode()
    )


@pytest.mark.parametrize("name", ["../../etc/passwd", "..", "a\\..\\b.wav", "%2e%2e%2fx", "звук.wav"])
def test_a_name_never_leads_out_of_its_folder(client, settings, name):
    uri = client.post("/v1/uploads", files={"file": (name, b"x")}).json()["uri"]

    (path,) = stored(settings)
    assert path.startswith(str(settings.data_dir.absolute() / "objects" / "uploads" / "default"))
    assert path.count("/") == str(settings.data_dir.absolute()).count("/") + 5
    assert uri.rpartition("/")[2] in path


@pytest.mark.parametrize(
    ("size", "declared"), [(100_001, True), (100_001, False), (5_000_000, True), (5_000_000, False)]
)
def test_an_upload_that_is_too_large_is_refused_and_leaves_nothing(client, settings, size, declared):
    request = form(part('name="file"; filename="a.wav"', "x" * size))
    if not declared:
        body = request["content"]
        request["content"] = (body[start : start + 65_536] for start in range(0, len(body), 65_536))

    answer = client.post("/v1/uploads", **request)

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert stored(settings) == []


@pytest.mark.parametrize(
    ("request_", "field", "says"),
    [
        (form(), "file", "no file"),
        (form(FILE, end=False), "file", "ends early"),
        (form(part('name="file"')), "file", "filename"),
        (form(part('name="audio"; filename="a.wav"')), "audio", "'file'"),
        (form(part('filename="a.wav"')), "file", "'file'"),
        (form(FILE, FILE), "file", "one file"),
        (form(FILE, part('name="note"', "hello")), "note", "'file'"),
        ({"content": b"garbage", "headers": form()["headers"]}, "file", "no multipart form"),
        ({"json": {}}, "content-type", "multipart/form-data"),
        ({"content": b"", "headers": {"content-type": "multipart/form-data"}}, "content-type", "boundary"),
        (
            {"content": b"", "headers": {"content-type": f"multipart/form-data; boundary={'b' * 5_000}"}},
            "content-type",
            "exceeds maximum",
        ),
    ],
)
def test_a_form_that_is_wrong_is_refused_by_field_and_leaves_nothing(client, settings, request_, field, says):
    answer = client.post("/v1/uploads", **request_)

    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert says in error["message"]
    assert stored(settings) == []


class StubbornStore:
    """Open writers, and fail when they are used."""

    def writer(self, uri):
        raise StorageUnavailable(f"{uri}: secret-host did not answer")


def test_a_store_that_does_not_answer_is_said_without_saying_where_it_is(settings):
    with TestClient(create_app(settings, store=StubbornStore()), raise_server_exceptions=False) as client:
        answer = client.post("/v1/uploads", files={"file": ("a.wav", b"x")})

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
    assert answer.headers["retry-after"]
    assert "secret-host" not in answer.text


def test_a_storage_that_is_not_there_is_the_services_fault_and_may_pass(client, settings):
    (settings.data_dir / "objects").write_text("a file")

    answer = client.post("/v1/uploads", files={"file": ("a.wav", b"x")})

    assert (answer.status_code, answer.json()["code"]) == (503, "storage_misconfigured")
    assert "EARWITNESS_STORAGE_URL" in answer.json()["detail"]
    assert answer.headers["retry-after"]
    assert str(settings.data_dir) not in answer.text
