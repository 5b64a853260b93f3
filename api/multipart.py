"""Read the one file of a multipart body as it arrives, without keeping it anywhere."""

from __future__ import annotations

from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError, MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api.problems import InvalidField

FIELD = "file"


class FilePart:
    """The file part of a request: ``open`` reads up to its name, ``blocks`` yields its bytes.

    Raises ``InvalidField`` when the body is no multipart form with exactly one file in the field ``file``, also
    when it ends too early; what was yielded before that has to be dropped.
    """

    def __init__(self, request: Request) -> None:
        self._body = request.stream()
        self._found = _FoundFile()
        try:
            self._parser = MultipartParser(
                _boundary(request.headers.get("content-type", "")),
                {
                    "on_part_begin": self._found.begin,
                    "on_header_field": self._found.header_name,
                    "on_header_value": self._found.header_value,
                    "on_header_end": self._found.header_end,
                    "on_headers_finished": self._found.headers_finished,
                    "on_part_data": self._found.data,
                    "on_end": self._found.end,
                },
            )
        except FormParserError as error:
            raise InvalidField("content-type", f"this is no multipart form: {error}") from None

    async def open(self) -> str:
        """Return the file's name as the client wrote it, once it is known."""
        while self._found.name is None:
            if not await self._feed():
                raise InvalidField(FIELD, "the form holds no file: send one in the field 'file'")
        return self._found.name

    async def blocks(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes as they come."""
        more = True
        while more:
            if self._found.waiting:
                yield b"".join(self._found.waiting)
                self._found.waiting.clear()
            more = await self._feed()
        if not self._found.ended:
            raise InvalidField(FIELD, "the form ends early: its closing boundary is missing")

    async def _feed(self) -> bool:
        """Parse the next piece of the body; return False at its end."""
        piece = await anext(self._body, b"")
        if not piece:
            return False
        try:
            self._parser.write(piece)
        except MultipartParseError as error:
            raise InvalidField(FIELD, f"this is no multipart form: {error}") from None
        return True


class _FoundFile:
    """What the parser has come across."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.waiting: list[bytes] = []
        self.ended = False
        self._header = b""
        self._value = b""
        self._disposition = b""

    def begin(self) -> None:
        self._disposition = b""

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        field = options.get(b"name", b"").decode("utf-8", "replace")
        if field != FIELD:
            raise InvalidField(field or FIELD, "no such field: the form has one, 'file'")
        if b"filename" not in options:
            raise InvalidField(FIELD, "this is text, not a file: give the part a filename")
        if self.name is not None:
            raise InvalidField(FIELD, "one file at a time: send each in a request of its own")
        self.name = options[b"filename"].decode("utf-8", "replace")

    def data(self, data: bytes, start: int, end: int) -> None:
        self.waiting.append(data[start:end])

    def end(self) -> None:
        self.ended = True


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidField("content-type", "an upload is a form: use multipart/form-data with a boundary")
    return boundary
