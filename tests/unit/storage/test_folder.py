"""Hold the folder store to its roots, whatever links and odd files lie in them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import storage.folder
from storage import (
    FolderStore,
    InputAccessDenied,
    InputChanged,
    InputNotFound,
    InvalidUri,
    StorageUnavailable,
    folder_uri,
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(b"secret")
    return tmp_path / "root"


@pytest.fixture
def store(root):
    return FolderStore([root])


def test_a_path_outside_the_roots_is_denied(store, root):
    for path in (root.parent / "outside" / "secret", root.parent / "root-twin", root.parent):
        for use in (store.head, store.delete, lambda uri: list(store.list(uri + "/"))):
            with pytest.raises(InputAccessDenied):
                use(folder_uri(path))
    with pytest.raises(InputAccessDenied), store.writer(folder_uri(root.parent / "outside" / "new")):
        pass
    assert os.listdir(root.parent / "outside") == ["secret"]


def test_a_link_that_leads_outside_is_denied(store, root):
    (root / "file").symlink_to(root.parent / "outside" / "secret")
    (root / "folder").symlink_to(root.parent / "outside")
    for uri in (folder_uri(root / "file"), folder_uri(root) + "/folder/secret"):
        with pytest.raises(InputAccessDenied):
            store.head(uri)
    with pytest.raises(InputAccessDenied), store.writer(folder_uri(root) + "/folder/new"):
        pass
    assert list(store.list(folder_uri(root) + "/")) == []
    store.delete(folder_uri(root / "file"))
    assert (root.parent / "outside" / "secret").exists()
    assert not (root / "file").is_symlink()


def test_a_link_that_is_swapped_in_after_the_check_is_denied(store, root, monkeypatch):
    (root / "file").symlink_to(root.parent / "outside" / "secret")
    monkeypatch.setattr(storage.folder.os.path, "realpath", lambda path: str(path))
    with pytest.raises(InputAccessDenied):
        store.head(folder_uri(root / "file"))


def test_a_link_inside_the_roots_is_followed(store, root):
    (root / "file").write_bytes(b"abc")
    (root / "link").symlink_to(root / "file")
    assert store.read(folder_uri(root / "link"), 0, 3) == b"abc"
    assert len(list(store.list(folder_uri(root)))) == 2


def test_a_folder_or_a_pipe_is_not_an_object(store, root):
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(InputNotFound):
            store.head(folder_uri(root / name))
    for uri in (folder_uri(root), folder_uri(root) + "/a/"):
        with pytest.raises(InvalidUri), store.writer(uri):
            pass


def test_a_file_that_changes_while_it_is_streamed_is_noticed(store, root):
    (root / "file").write_bytes(b"abcdef")
    stream = store.stream(folder_uri(root / "file"), block_bytes=3)
    assert next(stream) == b"abc"
    (root / "file").write_bytes(b"ghijklmnop")
    with pytest.raises(InputChanged):
        list(stream)


def test_a_file_without_permission_is_denied(store, root, monkeypatch):
    (root / "file").write_bytes(b"abc")

    def denied(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(storage.folder, "_open_without_links", denied)
    with pytest.raises(InputAccessDenied):
        store.head(folder_uri(root / "file"))


def test_a_full_disk_is_an_unavailable_storage_and_leaves_nothing(store, root, monkeypatch):
    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.folder.os, "fsync", full)
    with pytest.raises(StorageUnavailable) as raised, store.writer(folder_uri(root / "file")) as writer:
        writer.write(b"abc")
    assert (raised.value.code, raised.value.retryable) == ("storage_full", True)
    assert os.listdir(root) == []


def test_the_left_over_of_a_crash_is_not_listed(store, root):
    (root / ".earwitness-0123456789abcdef.part").write_bytes(b"half")
    (root / "whole").write_bytes(b"whole")
    assert [info.size_bytes for info in store.list(folder_uri(root))] == [5]


def test_a_folder_whose_files_may_not_be_looked_at_is_denied_and_what_vanishes_is_passed_over(
    store, root, monkeypatch
):
    for name in ("a", "b", "c"):
        (root / name).write_bytes(b"abc")
    looked, error = os.stat, FileNotFoundError(2, "No such file or directory")

    def stat(path, **options):
        if os.fsencode(path).endswith(b"/b"):
            raise error
        return looked(path, **options)

    monkeypatch.setattr(storage.folder.os, "stat", stat)
    assert [one.uri[-2:] for one in store.list(folder_uri(root) + "/")] == ["/a", "/c"]
    error = PermissionError(13, "Permission denied")
    with pytest.raises(InputAccessDenied, match="/b: Permission denied"):
        list(store.list(folder_uri(root) + "/"))


def test_a_left_over_that_cannot_be_removed_is_said_and_holds_up_no_other(store, root, monkeypatch, caplog):
    for number in range(3):
        (root / f".earwitness-{number}.part").write_bytes(b"half")
    removed = Path.unlink

    def unlink(path, **options):
        if path.name.endswith("1.part"):
            raise PermissionError(13, "Permission denied", str(path))
        removed(path, **options)

    monkeypatch.setattr(Path, "unlink", unlink)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert store.sweep_unfinished(folder_uri(root) + "/", later) == 2
    assert ["1.part" in record.getMessage() for record in caplog.records] == [True]


def test_a_name_that_is_not_utf8_can_be_read_and_listed(store, root):
    with open(os.fsencode(root) + b"/caf\xe9", "wb") as file:
        file.write(b"abc")
    (found,) = store.list(folder_uri(root))
    assert found.uri.endswith("/caf%E9")
    assert store.read(found.uri, 0, 3) == b"abc"
