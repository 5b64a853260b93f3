"""Send each URI to its store, and pay for boto3 only when it is used."""

from __future__ import annotations

import subprocess
import sys

import pytest

from storage import InvalidUri, S3Options, StoreRouter, folder_uri, open_store


def test_a_folder_user_never_imports_boto3(tmp_path):
    code = f"""
import sys, storage
store = storage.open_store({folder_uri(tmp_path)!r})
with store.writer({folder_uri(tmp_path / "a")!r}) as writer:
    writer.write(b"abc")
assert store.head({folder_uri(tmp_path / "a")!r}).size_bytes == 3
assert not {{"boto3", "botocore"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_files_are_allowed_in_the_storage_folder_and_the_roots(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_bytes(b"abc")
    store = open_store(folder_uri(tmp_path / "out"), roots=[tmp_path / "in"])
    with store.writer(folder_uri(tmp_path / "out" / "b")) as writer:
        writer.write(b"".join(store.stream(folder_uri(tmp_path / "in" / "a"))))
    assert store.head(folder_uri(tmp_path / "out" / "b")).size_bytes == 3


@pytest.mark.parametrize("url", ["https://host/bucket", "data", "s3://", "file://host/data"])
def test_a_storage_url_that_cannot_hold_objects_is_refused_at_once(url):
    with pytest.raises(InvalidUri):
        open_store(url)


def test_a_scheme_that_is_not_enabled_is_refused_with_those_that_are():
    with pytest.raises(InvalidUri, match="use file"):
        StoreRouter({"file": lambda: None}).head("s3://bucket/key")


def test_s3_options_refuse_half_a_credential_and_never_show_the_other_half():
    with pytest.raises(ValueError, match="come together"):
        S3Options(access_key_id="a")
    assert "shown" not in repr(S3Options(access_key_id="not shown", secret_access_key="not shown"))
