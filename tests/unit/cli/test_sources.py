from __future__ import annotations

import pytest

from cli.errors import SourceNotFound
from cli.sources import find_sources


@pytest.fixture
def archive(tmp_path, monkeypatch):
    for name in ("a.wav", "b.MP3", "notes.txt", "deep/c.flac", ".hidden/d.wav", "deep/.e.wav", "odd"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*arguments) -> list[str]:
    return [str(source) for source in find_sources(map(str, arguments))]


def test_a_uri_is_passed_on_and_never_looked_for(archive):
    assert find_sources(["s3://bucket/*.wav", "file:///x"]) == ["s3://bucket/*.wav", "file:///x"]


def test_a_file_may_have_any_ending(archive):
    assert names("odd", "notes.txt") == ["odd", "notes.txt"]


def test_a_folder_stands_for_the_audio_in_it_and_below(archive):
    assert names(archive) == [str(archive / name) for name in ("a.wav", "b.MP3", "deep/c.flac")]


def test_a_pattern_that_no_shell_has_expanded_is_expanded(archive):
    assert names("*.wav", "**/*.flac") == ["a.wav", "deep/c.flac"]


def test_each_source_comes_once_in_the_order_named(archive):
    assert names("b.MP3", "a.wav", "*.wav", "s3://b/k", "s3://b/k") == ["b.MP3", "a.wav", "s3://b/k"]


@pytest.mark.parametrize("argument", ["nothing.wav", "*.ogg", "deep/.hidden"])
def test_what_is_not_there_is_refused_by_name(archive, argument):
    with pytest.raises(SourceNotFound, match="there is no file"):
        find_sources([argument])


def test_an_empty_name_is_not_the_present_folder(archive):
    with pytest.raises(SourceNotFound, match="has no name"):
        find_sources([""])


def test_a_folder_without_audio_is_refused(archive):
    (archive / "empty").mkdir()
    with pytest.raises(SourceNotFound, match="holds no audio files"):
        find_sources(["empty"])
