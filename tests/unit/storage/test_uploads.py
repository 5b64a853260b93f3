from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import FolderStore, InvalidUri, folder_uri
from storage.uploads import (
    MAX_NAME_CHARACTERS,
    check_source,
    parse_upload,
    resolve_source,
    safe_name,
    upload_uri,
)

ID = "0198f0a1-7c5e-7000-8000-000000000001"


@given(st.text(max_size=300))
def test_any_file_name_becomes_one_that_an_upload_may_have(name):
    safe = safe_name(name)

    assert len(safe) <= MAX_NAME_CHARACTERS
    assert parse_upload(upload_uri(ID, safe)) == (ID, safe)
    assert safe_name(safe) == safe


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("call.wav", "call.wav"),
        ("/home/me/My call (2).MP3", "My-call-2.MP3"),
        (r"C:\music\song.ogg", "song.ogg"),
        ("../../etc/passwd", "passwd"),
        ("звук.flac", "audio.flac"),
        (".hidden", "audio.hidden"),
        ("..", "audio"),
        ("", "audio"),
        ("tape", "tape"),
        ("a" * 200 + ".wav", "a" * 96 + ".wav"),
    ],
)
def test_a_name_keeps_what_is_safe_of_it(name, safe):
    assert safe_name(name) == safe


@pytest.mark.parametrize(
    "uri",
    [
        "upload://",
        "upload://x/a.wav",
        f"upload://{ID}",
        f"upload://{ID}/",
        f"upload://{ID}/../a.wav",
        f"upload://{ID}/..",
        f"upload://{ID}/a/b.wav",
        f"upload://{ID}/a b.wav",
        f"upload://{ID}/a.wav\n",
        f"upload://{ID.upper()}/a.wav",
        f"upload://{{{ID}}}/a.wav",
        f"upload://../{ID}/a.wav",
        f"upload://{ID}/{'a' * 101}",
        "s3://bucket/key",
    ],
)
def test_what_we_never_handed_out_is_no_upload(uri):
    with pytest.raises(InvalidUri):
        parse_upload(uri)


def test_an_upload_resolves_below_its_tenant_and_everything_else_stays_as_it_is():
    uri = upload_uri(ID, "call.wav")

    assert (
        resolve_source(uri, "default", "s3://bucket/prefix")
        == f"s3://bucket/prefix/uploads/default/{ID}/call.wav"
    )
    assert resolve_source(uri, "default", "file:///data") == f"file:///data/uploads/default/{ID}/call.wav"
    assert resolve_source("s3://bucket/key", "default", "file:///data") == "s3://bucket/key"
    assert resolve_source("file:///a.wav", "default", "file:///data") == "file:///a.wav"


def test_a_malformed_upload_does_not_resolve():
    with pytest.raises(InvalidUri):
        resolve_source(f"upload://{ID}/../../other/x.wav", "default", "file:///data")


def test_a_resolved_upload_can_be_written_and_read(tmp_path):
    store = FolderStore([tmp_path])
    where = resolve_source(
        upload_uri(str(uuid.uuid4()), safe_name("a b.wav")), "default", folder_uri(tmp_path)
    )

    with store.writer(where) as writer:
        writer.write(b"RIFF")

    assert store.read(where, 0, 4) == b"RIFF"


@pytest.mark.parametrize("uri", ["s3://bucket/a key?", "file:///a%20b.wav", f"upload://{ID}/a.wav"])
def test_a_source_may_be_an_object_a_file_or_an_upload(uri):
    assert check_source(uri) == uri


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("https://host/a.wav?signature=secret", "s3://bucket/key, file:///path, upload://ID/NAME"),
        ("a.wav", "has to begin with its scheme"),
        ("", "has to begin with its scheme"),
        ("s3://bucket", "names a bucket"),
        ("file://host/a.wav", "no host"),
        ("file:///a/../b", "climb"),
        ("file:///%61\ud800", "valid Unicode"),
        ("s3://bucket/\ud800", "valid Unicode"),
        ("s3://bucket/a\x00b", "control characters"),
        ("file:///" + "a" * 2_048, "2048 bytes"),
        (f"upload://{ID}/a/b", "letters, digits"),
    ],
)
def test_a_source_that_no_store_could_hold_is_refused(uri, says):
    with pytest.raises(InvalidUri, match=says) as caught:
        check_source(uri)
    assert "secret" not in str(caught.value)
