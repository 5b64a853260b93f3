"""Read a manifest line by line: JSON lines, CSV with a header, or a plain list of URIs; gzip is undone.

The bytes come from clients: lines, their lengths and the unpacked bytes are capped, and nothing is held but the line
at hand. What is wrong with one line is said of that line; what makes the whole thing no manifest raises.
"""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.client_notes import InvalidNotes, check_metadata, check_tracking
from storage.errors import StorageError
from storage.uploads import check_source

MAX_LINE_BYTES = 64 * 1024
FIELDS = ("uri", "metadata", "tracking")

_GZIP = b"\x1f\x8b"
_PACKED_BYTES = 8 * 1024  # that are unpacked at a time
_UNPACK_BYTES = 1024 * 1024  # at a time, however well a bomb was packed
_OTHER_TEXT = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class ManifestNotText(StorageError):
    """The manifest is no UTF-8 text."""

    code = "manifest_not_text"


class ManifestTooLarge(StorageError):
    """The manifest has more lines, or unpacks to more bytes, than are accepted."""

    code = "manifest_too_large"


class ManifestInvalid(StorageError):
    """The manifest begins like none of the accepted forms, or its packing is broken."""

    code = "manifest_invalid"


@dataclass(frozen=True)
class ManifestLine:
    """One object that a manifest names; ``number`` counts lines from 1."""

    number: int
    uri: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    tracking: str | None = None


@dataclass(frozen=True)
class BadLine:
    """A line that cannot be taken, and why."""

    number: int
    code: str
    message: str


@dataclass(frozen=True)
class ManifestLimits:
    """How much of a manifest is accepted."""

    lines: int
    unpacked_bytes: int


def read_manifest(blocks: Iterable[bytes], limits: ManifestLimits) -> Iterator[ManifestLine | BadLine]:
    """Yield every line that is not blank; raises ``ManifestNotText``, ``ManifestTooLarge``, ``ManifestInvalid``.

    Errors of the whole come when they are met: earlier lines have been yielded by then.
    """
    lines = _texts(
        _lines(_capped(_unpacked(blocks, limits.unpacked_bytes), limits.unpacked_bytes), limits.lines)
    )
    first = next((line for line in lines if isinstance(line, BadLine) or line[1].strip()), None)
    if first is None:
        return
    if isinstance(first, BadLine):
        raise ManifestNotText(f"line {first.number}: {first.message}")
    start = first[1].lstrip()
    if start.startswith(("{", '"')):
        yield from _json_lines(_again(first, lines))
    elif _URI.match(start):
        yield from _plain_lines(_again(first, lines))
    else:
        yield from _csv_lines(first, lines)


_Text = tuple[int, str]


def _again(first: _Text, rest: Iterator[_Text | BadLine]) -> Iterator[_Text | BadLine]:
    yield first
    yield from rest


def _unpacked(blocks: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    """Undo gzip where the first bytes say so; members may follow each other.

    What is packed is capped too: members may unpack to nothing.
    """
    blocks = iter(blocks)
    head = b""
    for block in blocks:
        head += block
        if len(head) >= len(_GZIP):
            break
    if not head.startswith(_GZIP):
        yield head
        yield from blocks
        return
    pieces = _pieces(_capped(itertools.chain([head], blocks), limit_bytes))
    unpacker = zlib.decompressobj(wbits=31)
    waiting = next(pieces)
    try:
        while True:
            yield unpacker.decompress(waiting, _UNPACK_BYTES)
            waiting = unpacker.unconsumed_tail
            if unpacker.eof:
                waiting = unpacker.unused_data.lstrip(b"\0") or next(pieces, b"")
                if not waiting:
                    return
                unpacker = zlib.decompressobj(wbits=31)
            elif not waiting:
                waiting = next(pieces, b"")
                if not waiting:
                    raise ManifestInvalid("the manifest's gzip is cut off: write it again")
    except zlib.error as error:
        raise ManifestInvalid(f"the manifest's gzip is broken: {error}") from None


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is packed in small pieces: the rest of one is copied at the end of each member."""
    for block in blocks:
        for start in range(0, len(block), _PACKED_BYTES):
            yield block[start : start + _PACKED_BYTES]


def _capped(blocks: Iterable[bytes], limit_bytes: int) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > limit_bytes:
            raise ManifestTooLarge(f"the manifest holds more than {limit_bytes} bytes: split it")
        yield block


def _lines(blocks: Iterable[bytes], limit: int) -> Iterator[tuple[int, bytes | None]]:
    """Yield numbered lines without their ends; None for one that is too long, which is passed over."""
    number, waiting, too_long = 0, b"", False
    for block in blocks:
        *whole, rest = block.split(b"\n")
        for line in whole:
            number += 1
            if number > limit:
                raise ManifestTooLarge(f"the manifest holds more than {limit} lines: split it")
            line = waiting + line
            yield number, None if too_long or len(line) > MAX_LINE_BYTES else line
            waiting, too_long = b"", False
        waiting += rest
        if len(waiting) > MAX_LINE_BYTES:
            waiting, too_long = b"", True
    if waiting or too_long:
        yield number + 1, None if too_long else waiting


def _texts(lines: Iterable[tuple[int, bytes | None]]) -> Iterator[_Text | BadLine]:
    for number, line in lines:
        if line is None:
            yield BadLine(number, "line_too_long", f"a line may be {MAX_LINE_BYTES} bytes long")
            continue
        if number == 1:
            for mark, name in _OTHER_TEXT.items():
                if line.startswith(mark):
                    raise ManifestNotText(f"the manifest is {name}: write it as UTF-8")
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            yield BadLine(number, "line_not_text", "the line is no UTF-8 text")
            continue
        if "\x00" in text:
            yield BadLine(number, "line_not_text", "the line holds NUL")
        else:
            yield number, text


def _plain_lines(lines: Iterable[_Text | BadLine]) -> Iterator[ManifestLine | BadLine]:
    for line in lines:
        if isinstance(line, BadLine):
            yield line
        elif line[1].strip():
            yield _checked(line[0], {"uri": line[1]})


def _json_lines(lines: Iterable[_Text | BadLine]) -> Iterator[ManifestLine | BadLine]:
    for line in lines:
        if isinstance(line, BadLine):
            yield line
        elif line[1].strip():
            try:
                value = json.loads(line[1], parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                yield BadLine(line[0], "line_not_json", f"the line is no JSON: {error}"[:500])
            else:
                yield _checked(line[0], {"uri": value} if isinstance(value, str) else value)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _csv_lines(first: _Text, rest: Iterator[_Text | BadLine]) -> Iterator[ManifestLine | BadLine]:
    """Read rows below a header; a quoted cell may run over several lines, its row has the number of the first."""
    bad: list[BadLine] = []
    last = first[0]

    def texts() -> Iterator[str]:
        nonlocal last
        for line in _again(first, rest):
            if isinstance(line, BadLine):
                bad.append(line)
            else:
                last = line[0]
                yield line[1] + "\n"

    rows = csv.reader(texts(), strict=True)
    try:
        names = [name.strip().lower() for name in next(rows)]
    except csv.Error as error:
        raise ManifestInvalid(f"the header of the manifest cannot be read: {error}") from None
    unknown = [name for name in names if name not in FIELDS]
    if "uri" not in names or unknown or len(set(names)) != len(names):
        raise ManifestInvalid(
            "the manifest begins with neither a JSON object nor a URI, nor with the header of a CSV table: its "
            f"columns are {', '.join(FIELDS)}, each once, uri at least"
        )
    while True:
        before = last
        try:
            cells = next(rows)
        except StopIteration:
            yield from bad
            return
        except csv.Error as error:
            yield BadLine(before + 1, "line_not_csv", f"the row cannot be read: {error}")
            continue
        yield from bad
        bad.clear()
        if any(cell.strip() for cell in cells):
            yield _row(before + 1, names, cells)


def _row(number: int, names: list[str], cells: list[str]) -> ManifestLine | BadLine:
    if len(cells) != len(names):
        return BadLine(number, "line_not_csv", f"the row has {len(cells)} cells, the header {len(names)}")
    value: dict[str, Any] = {name: cell for name, cell in zip(names, cells, strict=True) if cell}
    if "metadata" in value:
        try:
            value["metadata"] = json.loads(value["metadata"], parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            return BadLine(number, "line_not_json", f"metadata is no JSON: {error}"[:500])
    return _checked(number, value)


def _checked(number: int, value: Any) -> ManifestLine | BadLine:
    if not isinstance(value, dict):
        return BadLine(number, "line_invalid", "the line is neither an object nor a URI")
    if unknown := [name for name in value if name not in FIELDS]:
        known = ", ".join(FIELDS)
        return BadLine(number, "unknown_field", f"no such field {unknown[0][:100]!a}: choose from {known}")
    uri, metadata, tracking = value.get("uri"), value.get("metadata"), value.get("tracking")
    if not isinstance(uri, str):
        return BadLine(number, "line_invalid", "uri is required, and is a text")
    if metadata is not None and not isinstance(metadata, dict):
        return BadLine(number, "line_invalid", "metadata is an object")
    if tracking is not None and not isinstance(tracking, str):
        return BadLine(number, "line_invalid", "tracking is a text")
    try:
        return ManifestLine(
            number,
            check_source(uri),
            check_metadata(metadata or {}),
            None if tracking is None else check_tracking(tracking),
        )
    except InvalidNotes as error:
        return BadLine(number, error.code, str(error))
    except StorageError as error:
        return BadLine(number, error.code, str(error))
