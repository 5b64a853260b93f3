"""The look at a header ends, whatever the header says."""

from __future__ import annotations

import io

import pytest

from pipeline.media_header import declared_wav_seconds, is_protected


class CountedFile(io.BytesIO):
    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize(
    ("look", "data"),
    [
        (is_protected, b"\0\0\0\x08free" * 100_000),
        (lambda file: declared_wav_seconds(file, 800_012), b"RIFF....WAVE" + b"junk\0\0\0\0" * 100_000),
    ],
    ids=["mp4", "wav"],
)
def test_a_file_of_empty_boxes_is_not_read_to_its_end(look, data):
    file = CountedFile(data)

    assert not look(file)
    assert file.reads < 20_000


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_box_that_is_larger_than_any_file_ends_the_look(size):
    assert not is_protected(io.BytesIO(b"\0\0\0\1free" + size.to_bytes(8, "big")))
