"""Hold both stores to the same promises."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

import storage.s3
from storage import InputChanged, InputNotFound, InvalidRange, InvalidUri, join

pytestmark = pytest.mark.integration

CONTENT = bytes(range(256)) * 40


@pytest.fixture
def store(place):
    return place[0]


@pytest.fixture
def base(place):
    return place[1]


def put(store, uri, content=CONTENT):
    with store.writer(uri) as writer:
        writer.write(content)
    return writer.info


def fail_midway(store, uri, content):
    with store.writer(uri) as writer:
        writer.write(content)
        raise RuntimeError("the caller failed")


def test_what_was_written_can_be_read_whole_and_in_part(store, base):
    uri = join(base, "a", "b.bin")
    put(store, uri)
    assert b"".join(store.stream(uri)) == CONTENT
    assert store.read(uri, 0, len(CONTENT)) == CONTENT
    assert store.read(uri, 7, 1_000) == CONTENT[7:1_000]


def test_the_writer_knows_what_head_says(store, base):
    uri = join(base, "a")
    info = put(store, uri)
    assert info == store.head(uri)
    assert (info.uri, info.size_bytes) == (uri, len(CONTENT))
    assert info.modified_at.tzinfo is UTC
    assert abs(datetime.now(UTC) - info.modified_at) < timedelta(minutes=1)


def test_a_stream_comes_in_blocks_of_the_asked_size(store, base):
    uri = join(base, "a")
    put(store, uri)
    blocks = list(store.stream(uri, block_bytes=4_000))
    assert [len(block) for block in blocks] == [4_000, 4_000, 2_240]
    assert b"".join(blocks) == CONTENT


def test_an_empty_object_is_an_object(store, base):
    uri = join(base, "empty")
    with store.writer(uri):
        pass
    assert store.head(uri).size_bytes == 0
    assert list(store.stream(uri)) == []
    assert [info.uri for info in store.list(uri)] == [uri]


def test_a_large_object_is_written_in_pieces_of_any_size(store, base):
    uri = join(base, "large")
    piece = os.urandom(1_000_003)
    with store.writer(uri) as writer:
        for _ in range(40):
            writer.write(piece)
    assert writer.info == store.head(uri)
    assert b"".join(store.stream(uri)) == piece * 40


def test_the_writer_takes_a_buffer_that_is_reused(store, base):
    uri = join(base, "a")
    buffer = bytearray(b"first.")
    with store.writer(uri) as writer:
        writer.write(buffer)
        buffer[:] = b"second"
        writer.write(memoryview(buffer))
    assert store.read(uri, 0, 12) == b"first.second"


def test_nothing_is_visible_before_the_writer_is_done(store, base):
    uri = join(base, "a")
    with store.writer(uri) as writer:
        writer.write(CONTENT)
        with pytest.raises(InputNotFound):
            store.head(uri)
        assert list(store.list(base + "/")) == []
    assert store.head(uri).size_bytes == len(CONTENT)


@pytest.mark.parametrize("size_bytes", [10, 20 * 1024 * 1024], ids=["small", "large"])
def test_a_writer_that_fails_leaves_nothing(store, base, size_bytes):
    uri = join(base, "a")
    with pytest.raises(RuntimeError, match="the caller failed"):
        fail_midway(store, uri, bytes(size_bytes))
    assert list(store.list(base + "/")) == []


def test_a_writer_that_fails_keeps_what_was_there(store, base):
    uri = join(base, "a")
    before = put(store, uri)
    with pytest.raises(RuntimeError, match="the caller failed"):
        fail_midway(store, uri, b"other")
    assert store.head(uri) == before


def test_an_object_is_replaced_and_gets_another_version(store, base):
    uri = join(base, "a")
    before = put(store, uri)
    after = put(store, uri, b"other")
    assert before.version != after.version
    assert store.read(uri, 0, 5) == b"other"


def test_a_pinned_read_refuses_another_version(store, base):
    uri = join(base, "a")
    before = put(store, uri)
    assert store.read(uri, 0, 5, version=before.version) == CONTENT[:5]
    assert b"".join(store.stream(uri, version=before.version)) == CONTENT
    put(store, uri, CONTENT[::-1])
    with pytest.raises(InputChanged):
        store.read(uri, 0, 5, version=before.version)
    with pytest.raises(InputChanged):
        list(store.stream(uri, version=before.version))


@pytest.mark.parametrize(("start", "end"), [(0, 10_241), (10_240, 10_241), (20_000, 20_001), (-1, 5), (5, 4)])
def test_a_range_outside_of_the_object_is_refused(store, base, start, end):
    uri = join(base, "a")
    put(store, uri)
    with pytest.raises(InvalidRange):
        store.read(uri, start, end)


def test_an_empty_range_is_empty(store, base):
    assert store.read(join(base, "a"), 5, 5) == b""


def test_a_missing_object_is_not_found(store, base):
    uri = join(base, "none")
    for look in (store.head, lambda uri: store.read(uri, 0, 1), lambda uri: list(store.stream(uri))):
        with pytest.raises(InputNotFound, match="none") as raised:
            look(uri)
        assert (raised.value.code, raised.value.retryable) == ("input_not_found", False)


def test_deleting_is_final_and_may_be_repeated(store, base):
    uri = join(base, "a", "b")
    put(store, uri)
    store.delete(uri)
    store.delete(uri)
    store.delete(join(base, "never", "was"))
    with pytest.raises(InputNotFound):
        store.head(uri)


def test_a_listing_follows_the_bytes_of_the_names(store, base):
    names = ["b", "a/z", "a/b/c", "a.b", "a-b", "ab", "a/é", "A"]
    for name in names:
        put(store, join(base, name), name.encode())
    listed = list(store.list(base + "/"))
    assert [info.uri for info in listed] == [join(base, name) for name in sorted(names, key=str.encode)]
    assert listed == [store.head(info.uri) for info in listed]


def test_a_listing_goes_on_behind_any_name(store, base, monkeypatch):
    monkeypatch.setattr(storage.s3, "PAGE_KEYS", 3)
    names = sorted(["b", "a/z", "a/b/c", "a/b/d", "a.b", "a-b", "ab", "a/é", "A", "a/b-"], key=str.encode)
    for name in names:
        put(store, join(base, name), b"")
    for number, name in enumerate(names):
        behind = [join(base, other) for other in names[number + 1 :]]
        assert [info.uri for info in store.list(base + "/", after=join(base, name))] == behind
    gone = join(base, "a", "b", "c0")  # need not exist
    assert next(store.list(base + "/", after=gone)).uri == join(base, "a", "b", "d")
    assert [info.uri for info in store.list(join(base, "a/b"), after=gone)] == [join(base, "a", "b", "d")]
    assert list(store.list(base + "/", after=join(base, "z"))) == []


def test_a_prefix_is_text(store, base):
    for name in ("a", "ab", "b/a", "a_c/d"):
        put(store, join(base, name))
    assert [info.uri for info in store.list(join(base, "a"))] == [join(base, n) for n in ("a", "a_c/d", "ab")]
    assert [info.uri for info in store.list(base + "/b/")] == [join(base, "b/a")]
    assert list(store.list(base + "/zzz/")) == []


def test_a_listing_reaches_beyond_one_page(store, base, monkeypatch):
    monkeypatch.setattr(storage.s3, "PAGE_KEYS", 10)
    for number in range(25):
        put(store, join(base, f"{number:02}"), b"")
    assert sum(1 for _ in store.list(base + "/")) == 25


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "%2e%2e",
        "a+b",
        "emoji 🎧.mp3",
        "\u00e9",
        "e\u0301",
        "-i",
        "concat:a|b",
        "a?b#c",
        "trailing ",
    ],
)
def test_odd_names_stay_what_they_are(store, base, name):
    uri = join(base, name)
    put(store, uri, name.encode())
    assert store.read(uri, 0, len(name.encode())) == name.encode()
    assert [info.uri for info in store.list(base + "/")] == [uri]


@pytest.mark.parametrize("tail", ["/a\nb", "/a\x00b", "/a\x7f"])
def test_control_characters_are_refused(store, base, tail):
    for use in (store.head, store.delete, lambda uri: list(store.list(uri))):
        with pytest.raises(InvalidUri):
            use(base + tail)


def test_the_uri_of_another_scheme_is_refused(store):
    for uri in ("https://host/a", "/a", "a"):
        with pytest.raises(InvalidUri):
            store.head(uri)


def test_threads_share_a_store(store, base):
    together = threading.Barrier(8)

    def roundtrip(number):
        content = bytes([number]) * 100_000
        together.wait()
        put(store, join(base, str(number)), content)
        return b"".join(store.stream(join(base, str(number)))) == content

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(roundtrip, range(8)))


def test_of_two_writers_at_once_one_wins_whole(store, base):
    uri = join(base, "a")
    first, second = store.writer(uri), store.writer(uri)
    with first as one:
        one.write(b"1" * 50_000)
        with second as two:
            two.write(b"2" * 60_000)
        assert store.read(uri, 0, 60_000) == b"2" * 60_000
    assert b"".join(store.stream(uri)) == b"1" * 50_000
