"""Read and build URIs: opaque keys, encoded paths, nothing that climbs or forges a log line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import InvalidUri, folder_uri, join
from storage.uris import parse_file, parse_s3, scheme_of


@given(
    st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1).filter(
        lambda k: len(k.encode()) <= 1024
    )
)
def test_an_s3_key_is_opaque(key):
    assert parse_s3(f"s3://bucket/{key}") == ("bucket", key)


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_a_file_uri_holds_any_name(name):
    path = "/data/" + os.fsdecode(name).replace("/", "_")
    if any(ord(c) < 32 or 127 <= ord(c) < 160 for c in path) or path in ("/data/..",):
        with pytest.raises(InvalidUri):
            parse_file(
                folder_uri(Path("/data")) + "/" + "".join(f"%{byte:02x}" for byte in os.fsencode(path[6:]))
            )
    else:
        assert parse_file(join("file:///data", path[6:]) if path[6:] != "." else "file:///data/.") == path


@pytest.mark.parametrize(
    "uri",
    ["s3://", "s3:///key", "s3://b/key", "s3://bucket", "s3://bucket/", "s3://id:secret@bucket/key",
     "s3://buck et/key", "s3://bucket/a\nb", "s3://bucket/a\x00", "s3://bucket/" + "é" * 513,
     "s3://bucket/\ud800", "S3//bucket/key", "file:///a"],
)  # fmt: skip
def test_what_is_no_s3_object_is_refused(uri):
    with pytest.raises(InvalidUri) as raised:
        parse_s3(uri)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "uri",
    ["file://", "file://host/a", "file:relative", "file:///a/../b", "file:///a/%2e%2e/b", "file:///a?b",
     "file:///a#b", "file:///a%00b", "file:///a%0Ab", "s3://bucket/key", "/a"],
)  # fmt: skip
def test_what_is_no_file_is_refused(uri):
    with pytest.raises(InvalidUri):
        parse_file(uri)


def test_a_file_uri_is_percent_decoded():
    assert parse_file("file:///a%20b/%C3%A9%3F") == "/a b/é?"
    assert parse_file("file://localhost/a") == "/a"


def test_another_scheme_is_refused_with_the_list_of_those_that_exist_and_never_repeated():
    with pytest.raises(InvalidUri, match="s3://bucket/key or file:///path") as raised:
        scheme_of("https://bucket.s3.amazonaws.com/key?X-Amz-Signature=abcdef")
    assert "abcdef" not in str(raised.value)
    assert raised.value.code == "invalid_uri"


def test_join_puts_one_slash_between_and_encodes_for_files_only():
    assert join("s3://bucket", "a b", "c%") == "s3://bucket/a b/c%"
    assert join("s3://bucket/x/", "a/b") == "s3://bucket/x/a/b"
    assert join("file:///data/", "a b", "c%?") == "file:///data/a%20b/c%25%3F"


@pytest.mark.parametrize("part", ["", ".", "..", "a/../b", "/a", "a/", "a\n"])
def test_join_never_climbs(part):
    with pytest.raises(InvalidUri):
        join("s3://bucket", part)
