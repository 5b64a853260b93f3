from __future__ import annotations

import gzip
import json
import time
import tracemalloc
from collections.abc import Iterable

import pytest

from storage.manifests import (
    MAX_LINE_BYTES,
    BadLine,
    ManifestInvalid,
    ManifestLimits,
    ManifestLine,
    ManifestNotText,
    ManifestTooLarge,
    read_manifest,
)

LIMITS = ManifestLimits(lines=10_000, unpacked_bytes=10_000_000)


def read(data: bytes, limits: ManifestLimits = LIMITS, block: int = 7) -> list[ManifestLine | BadLine]:
    return list(read_manifest((data[at : at + block] for at in range(0, len(data), block)), limits))


def taken(lines: Iterable[ManifestLine | BadLine]) -> list[tuple[int, str]]:
    return [(line.number, line.uri) for line in lines if isinstance(line, ManifestLine)]


def lost(lines: Iterable[ManifestLine | BadLine]) -> list[tuple[int, str]]:
    return [(line.number, line.code) for line in lines if isinstance(line, BadLine)]


JSONL = b"""{"uri": "s3://bk/1.wav", "metadata": {"box": 7}, "tracking": "case-1"}

"s3://bk/2.wav"
{"uri": "s3://bk/3.wav", "metadata": null}
"""


@pytest.mark.parametrize("block", [1, 7, 10_000])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["", "bom"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_json_lines(block, pack, mark, end):
    lines = read(pack(mark + JSONL.replace(b"\n", end)), block=block)
    assert lines == [
        ManifestLine(1, "s3://bk/1.wav", {"box": 7}, "case-1"),
        ManifestLine(3, "s3://bk/2.wav"),
        ManifestLine(4, "s3://bk/3.wav"),
    ]


def test_csv_with_a_header_and_quoted_cells_over_lines():
    text = 'Tracking,uri,metadata\r\nc1,"s3://bk/a,b.wav","{""note"": ""x\r\ny""}"\r\n,s3://bk/2.wav,\r\n'
    lines = read(text.encode())
    assert taken(lines) == [(4, "s3://bk/2.wav")]
    assert lost(lines) == [(2, "line_not_json")]  # a line break inside a JSON text
    assert read(b'uri,metadata\ns3://bk/1,"{""a"": 1}"\n')[0] == ManifestLine(2, "s3://bk/1", {"a": 1})


def test_a_plain_list_takes_each_line_as_it_stands():
    data = 's3://bk/a,"b".wav\n\nfile:///c%20d.wav\ns3://bk/ü.wav'.encode()
    assert taken(read(data)) == [(1, 's3://bk/a,"b".wav'), (3, "file:///c%20d.wav"), (4, "s3://bk/ü.wav")]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "line_not_json"),
        (b"[" * 50_000, "line_not_json"),
        (b'{"uri": "s3://bk/1", "metadata": {"a": NaN}}', "line_not_json"),
        (b"7", "line_invalid"),
        (b'{"url": "s3://bk/1"}', "unknown_field"),
        (b"{}", "line_invalid"),
        (b'{"uri": 7}', "line_invalid"),
        (b'{"uri": "s3://bk/1", "metadata": []}', "line_invalid"),
        (b'{"uri": "s3://bk/1", "tracking": 7}', "line_invalid"),
        (b'{"uri": "s3://bk/1", "tracking": ""}', "tracking_length"),
        (b'{"uri": "s3://bk/1", "tracking": "a\\u0000"}', "tracking_not_text"),
        (b'{"uri": "s3://bk/1", "metadata": {"a": "\\u0000"}}', "metadata_not_text"),
        (b'{"uri": "s3://bk/1", "metadata": {"a": "' + b"x" * 17_000 + b'"}}', "metadata_too_large"),
        (b'"https://host/a.wav"', "invalid_uri"),
        (b'"s3://bk/\\u0001"', "invalid_uri"),
        (b'"s3://bk/\xff"', "line_not_text"),
        (b'"s3://bk/\x00"', "line_not_text"),
        (b'"' + b"x" * MAX_LINE_BYTES + b'"', "line_too_long"),
    ],
)
def test_a_bad_line_is_said_and_the_others_are_taken(line, code):
    lines = read(b'"s3://bk/1"\n' + line + b'\n"s3://bk/3"', block=1_000)
    assert lost(lines) == [(2, code)]
    assert taken(lines) == [(1, "s3://bk/1"), (3, "s3://bk/3")]


def test_a_row_with_other_cells_than_the_header_is_said():
    lines = read(b'uri,tracking\ns3://bk/1\ns3://bk/2,x\n"s3://bk/3"x,y\ns3://bk/4,\n')
    assert lost(lines) == [(2, "line_not_csv"), (4, "line_not_csv")]
    assert taken(lines) == [(3, "s3://bk/2"), (5, "s3://bk/4")]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"RIFF\xff\xff\xff\xffWAVE\x00", ManifestNotText),
        (b"\x00\x01", ManifestNotText),
        ('"s3://bk/1"\n'.encode("utf-16"), ManifestNotText),
        (b"<html>", ManifestInvalid),
        (b"name,uri\n", ManifestInvalid),
        (b"uri,uri\n", ManifestInvalid),
        (b"tracking\n", ManifestInvalid),
        (gzip.compress(b'"s3://bk/1"\n' * 100, mtime=0)[:-9], ManifestInvalid),
        (b"\x1f\x8bnothing", ManifestInvalid),
    ],
)
def test_what_is_no_manifest_is_refused(data, error):
    with pytest.raises(error) as raised:
        read(data, block=100)
    assert not raised.value.retryable


@pytest.mark.parametrize("data", [b"", b"\n \n", gzip.compress(b"", mtime=0)])
def test_an_empty_manifest_has_no_lines(data):
    assert read(data) == []


def test_lines_and_bytes_are_capped():
    data = b"s3://bk/1.wav\n" * 100
    assert len(read(data, ManifestLimits(100, 10_000))) == 100
    with pytest.raises(ManifestTooLarge, match="99 lines"):
        read(data, ManifestLimits(99, 10_000))
    with pytest.raises(ManifestTooLarge, match="1000 bytes"):
        read(data, ManifestLimits(100, 1_000))


def test_a_gzip_bomb_costs_no_memory():
    bomb = gzip.compress(b'"s3://bk/1"\n' + b"x" * 50_000_000, compresslevel=1, mtime=0)
    tracemalloc.start()
    with pytest.raises(ManifestTooLarge):
        read(bomb, ManifestLimits(10**9, 20_000_000), block=10**6)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_members_that_unpack_to_nothing_cost_neither_time_nor_end():
    nothing = gzip.compress(b"", mtime=0)
    blocks = [nothing * (8 * 1024 * 1024 // len(nothing))] * 1_000  # as stores give them

    before = time.process_time()
    with pytest.raises(ManifestTooLarge):
        list(read_manifest(blocks, ManifestLimits(100, 10_000_000)))
    assert time.process_time() - before < 10  # each of the blocks took a minute and more


def test_members_of_a_gzip_follow_each_other():
    packed = gzip.compress(b"s3://bk/1\n", mtime=0) + gzip.compress(b"s3://bk/2\n")
    assert taken(read(packed)) == [(1, "s3://bk/1"), (2, "s3://bk/2")]
    assert taken(read(packed, block=10**6)) == [(1, "s3://bk/1"), (2, "s3://bk/2")]


def test_a_manifest_that_we_write_ourselves_reads_back():
    rows = [{"uri": f"s3://bk/{n}", "metadata": {"n": n}, "tracking": str(n)} for n in range(1, 500)]
    data = "\n".join(json.dumps(row) for row in rows).encode()
    assert [vars(line) for line in read(data)] == [{"number": n, **row} for n, row in enumerate(rows, 1)]
