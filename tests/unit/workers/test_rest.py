"""A lane rests when its machine or the storage is in trouble, looks now and then, and goes on when it is over."""

import errno
import os

import pytest

from storage.errors import InputAccessDenied, InputNotFound, StorageMisconfigured, StorageUnavailable
from workers.rest import FIRST_SECONDS, LONGEST_SECONDS, OUTAGES_IN_A_ROW, Rest
from workers.trouble import DiskTooSmall, check_room, outage_of, trouble_of


@pytest.fixture
def rest(clock):
    return Rest("plan", clock)


def test_a_lane_that_is_well_claims_for_all_its_places(rest):
    assert (rest.most(8), rest.why, rest.seconds_left()) == (8, None, 0.0)


def test_trouble_makes_it_rest_and_then_claim_one_to_see(rest, clock):
    rest.trouble("disk_full: no room")
    assert (rest.most(8), rest.why) == (0, "disk_full: no room")
    clock.now += FIRST_SECONDS
    assert rest.most(8) == 1
    assert rest.most(8) == 0  # one is enough
    rest.well()
    assert (rest.most(8), rest.why) == (8, None)


def test_each_look_that_finds_trouble_doubles_the_pause_up_to_the_longest(rest, clock):
    rest.trouble("x")
    pauses = []
    for _ in range(8):
        pauses.append(rest.seconds_left())
        clock.now += rest.seconds_left()
        assert rest.most(8) == 1
        rest.trouble("x")
    assert pauses[:4] == [1, 2, 4, 8]
    assert max(pauses) == rest.seconds_left() == LONGEST_SECONDS


def test_passes_that_were_under_way_do_not_make_the_rest_longer(rest):
    for _ in range(8):
        rest.trouble("x")
    assert rest.seconds_left() == FIRST_SECONDS


def test_a_look_that_found_no_work_is_made_again(rest, clock):
    rest.trouble("x")
    clock.now += FIRST_SECONDS
    assert rest.most(8) == 1
    clock.now += FIRST_SECONDS
    assert rest.most(8) == 1


def test_a_storage_that_does_not_answer_some_is_no_reason_to_rest(rest):
    for _ in range(3):
        for _ in range(OUTAGES_IN_A_ROW - 1):
            rest.outage("storage_unavailable: no answer")
        rest.well()
    assert rest.most(8) == 8
    for _ in range(OUTAGES_IN_A_ROW):
        rest.outage("storage_unavailable: no answer")
    assert (rest.most(8), rest.why) == (0, "storage_unavailable: no answer")


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EROFS, "disk_read_only"),
        (errno.EMFILE, "no_file_handles"), (errno.ENFILE, "no_file_handles"), (errno.EAGAIN, "no_processes"),
        (errno.ENOMEM, "no_memory"), (errno.EIO, None), (errno.ENOENT, None), (errno.ECONNRESET, None),
    ],
)  # fmt: skip
def test_what_the_system_lacks_is_trouble_also_behind_another_error(number, code):
    error = OSError(number, os.strerror(number))
    assert trouble_of(error) == code
    wrapped = StorageUnavailable("file:///x: no room")
    wrapped.__cause__ = error
    assert trouble_of(wrapped) == code


def test_a_file_of_ours_that_may_not_be_written_is_trouble_and_a_source_that_may_not_be_read_is_not():
    error = PermissionError(errno.EACCES, "Permission denied")
    assert trouble_of(error) == "no_permission"
    wrapped = StorageUnavailable("x")
    wrapped.__cause__ = error
    assert trouble_of(wrapped) is None


class Asked:
    """A storage that answers a question about a place in one way."""

    def __init__(self, answer):
        self.answer = answer

    def check(self, prefix):
        assert prefix == "s3://b/a"
        if self.answer is not None:
            raise self.answer


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (StorageUnavailable("no answer"), "storage_unavailable"),
        (None, None), (InputNotFound("no such bucket"), None), (InputAccessDenied("may not list"), None),
    ],
)  # fmt: skip
def test_a_storage_is_gone_only_when_it_answers_nothing_else_either(answer, code):
    assert outage_of(Asked(answer), StorageUnavailable("no answer", uri="s3://b/a")) == code
    assert outage_of(Asked(answer), InputNotFound("x", uri="s3://b/a")) is None
    assert outage_of(Asked(answer), StorageUnavailable("of no known object")) is None


def test_a_storage_that_is_not_there_is_trouble_and_a_source_is_not():
    assert trouble_of(StorageMisconfigured("x")) == "storage_misconfigured"
    assert trouble_of(InputNotFound("x")) is None


def test_a_machine_without_threads_is_in_trouble():
    assert trouble_of(RuntimeError("can't start new thread")) == "no_processes"
    assert trouble_of(RuntimeError("something else")) is None
    assert trouble_of(MemoryError()) is None  # a huge recording may be to blame


def test_a_full_disk_is_real_trouble():
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
        full.write(b"x")
    assert trouble_of(caught.value) == "disk_full"


def test_room_is_looked_for_before_anything_is_fetched(tmp_path, monkeypatch):
    check_room(tmp_path, 1)
    disk = type("Disk", (), {"total": 100, "free": 10})
    monkeypatch.setattr("workers.trouble.shutil.disk_usage", lambda _: disk)
    check_room(tmp_path, 10)
    with pytest.raises(OSError, match="11 bytes are needed and 10 free") as caught:
        check_room(tmp_path, 11)
    assert trouble_of(caught.value) == "disk_full"
    with pytest.raises(DiskTooSmall, match="EARWITNESS_DATA_DIR"):
        check_room(tmp_path, 101)
