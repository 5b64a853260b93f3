from __future__ import annotations

import time

import pytest

from storage import InvalidUri, folder_uri
from storage.selection import (
    INVALID_NAME,
    NOT_AUDIO,
    OUTSIDE_GLOB,
    OWN_OBJECT,
    Glob,
    Selection,
    check_glob,
    check_prefix,
    looks_like_audio,
)


@pytest.mark.parametrize(
    ("pattern", "fits", "fits_not"),
    [
        ("*.wav", ["a.wav", ".wav"], ["a/b.wav", "a.WAV", "a.wav.txt"]),
        ("**/*.wav", ["a.wav", "a/b.wav", "a/b/c.wav", "/c.wav"], ["a.mp3", "a/b.wav/c"]),
        ("**", ["a", "a/b/c", ""], []),
        ("a/**/z/*.mp3", ["a/z/1.mp3", "a/b/c/z/1.mp3", "a/z/z/1.mp3"], ["b/z/1.mp3", "a/z/x/1.mp3"]),
        ("19[89]?/**", ["1998/a", "1980/b/c"], ["1970/a"]),
        ("[!a]*", ["b", "bcd"], ["a", "abc"]),
        ("a**b", ["ab", "axxb"], ["a/b"]),
        ("(.+)$", ["(.+)$"], ["abc"]),
    ],
)
def test_a_glob_knows_folders(pattern, fits, fits_not):
    glob = Glob(pattern)
    assert [name for name in fits if not glob.matches(name)] == []
    assert [name for name in fits_not if glob.matches(name)] == []


@pytest.mark.parametrize("pattern", ["*a" * 100 + "b", "**/a/" * 50 + "b", "?*" * 100 + "b"])
def test_no_glob_takes_long(pattern):
    glob, name = Glob(pattern), "/".join(["a" * 30] * 30)
    began = time.perf_counter()
    assert not glob.matches(name)
    assert not glob.matches("a" * 1_000)
    assert time.perf_counter() - began < 2.0


@pytest.mark.parametrize("pattern", ["", "/a", "a\n", "x" * 257, "a\x00"])
def test_a_glob_that_could_never_match_is_refused(pattern):
    with pytest.raises(InvalidUri, match="a glob"):
        check_glob(pattern)


@pytest.mark.parametrize(
    "prefix", ["s3://bk", "s3://bk/", "s3://bk/a", "s3://bk/a/", "file:///a/", "file:///"]
)
def test_a_prefix_may_be_a_bucket_a_folder_or_text(prefix):
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "s3://",
        "s3:///a",
        "a/",
        "https://host/",
        "upload://x/",
        "file://host/a/",
        "file:///../a/",
        "s3://bk/\n",
        "s3://bk/" + "k" * 2_048,
        "file:///a?b",
    ],
)
def test_what_cannot_be_listed_is_refused(prefix):
    with pytest.raises(InvalidUri):
        check_prefix(prefix)


def test_without_a_glob_names_decide(tmp_path):
    selection = Selection("s3://bk/calls/", None, "s3://ours/base")
    assert [selection.refusal(f"s3://bk/calls/{name}") for name in ("a.wav", "x/B.MP3", "c.opus")] == [
        None
    ] * 3
    for name in ("notes.txt", "x/", "a.wav/", ".a.wav", ".x/a.wav", "wav"):
        assert selection.refusal(f"s3://bk/calls/{name}") == NOT_AUDIO
    assert selection.refusal("s3://bk/calls/a\n.wav") == INVALID_NAME
    assert looks_like_audio("a/b.FLAC")


def test_a_glob_is_of_the_name_behind_the_prefix_and_overrides_suffixes():
    selection = Selection("s3://bk/calls/", "*/*.bin", "s3://ours")
    assert selection.refusal("s3://bk/calls/x/a.bin") is None
    assert selection.refusal("s3://bk/calls/a.bin") == OUTSIDE_GLOB
    assert selection.refusal("s3://bk/calls/x/a.wav") == OUTSIDE_GLOB


def test_what_this_service_keeps_is_never_taken(tmp_path):
    selection = Selection("s3://bk/", None, "s3://bk/earwitness")
    assert selection.refusal("s3://bk/earwitness/uploads/other/a.wav") == OWN_OBJECT
    assert selection.refusal("s3://bk/earwitness-calls/a.wav") is None

    (tmp_path / "data" / "objects").mkdir(parents=True)
    (tmp_path / "way").symlink_to(tmp_path / "data")
    storage_url = folder_uri(tmp_path / "data" / "objects")
    for base in (tmp_path, tmp_path / "data", tmp_path / "data" / "objects", tmp_path / "way"):
        selection = Selection(folder_uri(base) + "/", None, storage_url)
        inside = {"way": "objects/", "data": "objects/", "objects": ""}.get(base.name, "data/objects/")
        assert selection.refusal(f"{folder_uri(base)}/{inside}a.wav") == OWN_OBJECT
    assert (
        Selection(folder_uri(tmp_path / "way"), None, storage_url).refusal(folder_uri(tmp_path / "way/b.wav"))
        is None
    )


def test_the_name_of_a_file_is_decoded_before_it_is_judged():
    selection = Selection("file:///calls", "*ü.wav", "file:///ours")
    assert selection.refusal("file:///calls/gr%C3%BC.wav") is None
