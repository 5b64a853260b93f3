"""A storage that is not there is the service's trouble, and an object that is not there is its recording's."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from storage import (
    FolderStore,
    InputAccessDenied,
    InputNotFound,
    InputWrongRegion,
    OwnStorage,
    StorageMisconfigured,
    StorageUnavailable,
    folder_uri,
    open_store,
)

pytestmark = pytest.mark.integration


@pytest.fixture(params=["folder", "s3"])
def nowhere(request, tmp_path):
    """A store whose own place cannot be there, that place, and the URI of an object elsewhere."""
    if request.param == "folder":
        (tmp_path / "objects").write_text("a file")
        source = folder_uri(tmp_path / "in" / "a.wav")
        url = folder_uri(tmp_path / "objects")
    else:
        source = f"s3://{request.getfixturevalue('bucket')}/a.wav"
        url = "s3://nosuchbucket/prefix"
    s3 = request.getfixturevalue("s3_options") if request.param == "s3" else None
    (tmp_path / "in").mkdir()
    return open_store(url, roots=[tmp_path / "in"], s3=s3), url, source


@pytest.fixture
def there(place):
    """The same, with a place that is there."""
    store, url = place
    return OwnStorage(store, f"{url}/ours"), f"{url}/ours", f"{url}/source"


def write(store, uri):
    with store.writer(uri) as writer:
        writer.write(b"abc")


@pytest.mark.parametrize(
    "use",
    [
        lambda store, uri: store.head(uri),
        lambda store, uri: store.read(uri, 0, 1),
        lambda store, uri: list(store.stream(uri)),
        write,
    ],
    ids=["head", "read", "stream", "write"],
)
def test_a_storage_that_is_not_there_has_a_code_of_its_own_and_can_be_tried_again(nowhere, use):
    store, url, _ = nowhere
    with pytest.raises(StorageMisconfigured, match="EARWITNESS_STORAGE_URL") as caught:
        use(store, f"{url}/timelines/a")
    assert (caught.value.code, caught.value.retryable) == ("storage_misconfigured", True)


@pytest.mark.parametrize(
    "use",
    [
        lambda store, url: store.delete(f"{url}/a"),
        lambda store, url: list(store.list(f"{url}/a/")),
        lambda store, url: store.sweep_unfinished(f"{url}/", datetime.now(UTC)),
    ],
    ids=["delete", "list", "sweep"],
)
def test_a_bucket_that_is_missing_is_said_also_where_no_object_is_asked_for(s3_options, use):
    with pytest.raises(StorageMisconfigured):
        use(open_store("s3://nosuchbucket/prefix", s3=s3_options), "s3://nosuchbucket/prefix")


def test_a_source_that_is_missing_stays_a_source_that_is_missing(nowhere):
    store, _, source = nowhere
    with pytest.raises(InputNotFound):
        store.head(source)


def test_an_object_of_ours_that_is_missing_stays_one_that_is_missing(there):
    store, url, _ = there
    for use in (lambda: store.head(f"{url}/a"), lambda: store.read(f"{url}/a", 0, 1)):
        with pytest.raises(InputNotFound):
            use()
    store.delete(f"{url}/a")
    assert list(store.list(f"{url}/")) == []


def test_an_object_of_ours_is_written_read_and_listed(there):
    store, url, _ = there
    with store.writer(f"{url}/a") as writer:
        writer.write(b"abc")
    assert writer.info.size_bytes == 3
    assert b"".join(store.stream(f"{url}/a")) == store.read(f"{url}/a", 0, 3) == b"abc"
    assert [one.uri for one in store.list(f"{url}/")] == [f"{url}/a"]


class Refusing:
    """A store that answers everything, and whether its place is there, with one error each."""

    def __init__(self, error, of_place=None):
        self.error, self.of_place = error, of_place

    def head(self, uri):
        raise self.error

    @contextmanager
    def writer(self, uri):
        yield self
        raise self.error

    def write(self, data):
        pass

    def check(self, prefix):
        if self.of_place is not None:
            raise self.of_place


@pytest.mark.parametrize("error", [InputAccessDenied("x"), InputWrongRegion("x")])
def test_a_storage_that_may_not_be_used_is_our_trouble_and_a_source_is_not(error):
    store = OwnStorage(Refusing(error), "s3://ours/prefix")
    for use in (store.head, lambda uri: write(store, uri)):
        with pytest.raises(StorageMisconfigured):
            use("s3://ours/prefix/a")
        with pytest.raises(type(error)):
            use("s3://ours/prefixed/a")


def test_what_a_block_that_writes_reads_elsewhere_is_not_ours():
    store = OwnStorage(Refusing(InputAccessDenied("a source")), "s3://ours")
    with pytest.raises(InputAccessDenied), store.writer("s3://ours/a"):
        store.head("s3://elsewhere/a")


@pytest.mark.parametrize(
    ("of_place", "fact"),
    [
        (InputAccessDenied("may not list"), InputNotFound),  # that alone cannot be told
        (StorageUnavailable("no answer"), StorageUnavailable),
        (InputWrongRegion("elsewhere"), StorageMisconfigured),
    ],
)
def test_a_missing_object_is_believed_unless_its_place_is_known_to_be_missing(of_place, fact):
    store = OwnStorage(Refusing(InputNotFound("x"), of_place), "s3://ours")
    with pytest.raises(fact):
        store.head("s3://ours/a")


def test_a_folder_that_is_not_there_yet_can_hold_objects(tmp_path):
    FolderStore([tmp_path]).check(folder_uri(tmp_path / "not" / "yet"))


def test_a_bucket_is_there_whatever_it_holds(s3_store, bucket):
    s3_store.check(f"s3://{bucket}/prefix/")
    with pytest.raises(InputNotFound, match="no such bucket"):
        s3_store.check("s3://nosuchbucket/prefix/")
