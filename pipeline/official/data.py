"""Read a data set in the official JSONL format, one clip a line, and report every line that cannot be asked about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.decode import DecodeOptions, decode
from pipeline.json_lines import BadLine, read_object
from pipeline.official.errors import InvalidLine, NoData
from pipeline.timeline import MAX_HEARD_SAMPLES

Gt = str | tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One clip: its line from 1, its file, the true answer (for captions several), and which set it belongs to."""

    number: int
    audio: Path
    gt: Gt
    source: str
    question: str = ""


@dataclass
class Data:
    """The lines of a file, and what was wrong with those that are missing among them."""

    lines: list[Line] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


def read_data(
    path: Path, check: Callable[[Line], object], *, limit: int | None = None, several_gts: bool = False
) -> Data:
    """Read the first ``limit`` lines of a file; ``check`` raises ``InvalidLine`` for one that its task cannot ask.

    Fields that the evaluation does not need are ignored: the official files are not ours to refuse. Whether a clip
    can be decoded shows only when it is heard. Raises ``NoData``.
    """
    data = Data()
    try:
        with path.open("rb") as stream:
            for number, text in enumerate(islice(stream, limit), start=1):
                if not text.strip():
                    continue
                try:
                    line = _parse(number, text, path.absolute().parent, several_gts)
                    check(line)
                    data.lines.append(line)
                except InvalidLine as error:
                    data.bad.append(BadLine(number, str(error)))
    except OSError as error:
        raise NoData(f"{path} cannot be read: {error.strerror}") from None
    return data


def _parse(number: int, text: bytes, folder: Path, several_gts: bool) -> Line:
    try:
        fields = read_object(text)
    except ValueError as error:
        raise InvalidLine(str(error)) from None
    gt = fields.get("gt")
    if several_gts and isinstance(gt, list) and gt and all(isinstance(one, str) for one in gt):
        return Line(number, folder / _text(fields, "audio"), tuple(gt), _text(fields, "source"))
    question = _text(fields, "question") if "question" in fields else ""
    return Line(
        number, folder / _text(fields, "audio"), _text(fields, "gt"), _text(fields, "source"), question
    )


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InvalidLine(f"{name} has to be a text")
    if name == "audio" and (not value or "\0" in value):
        raise InvalidLine("audio has to name a file")
    return value


def read_clip(path: Path) -> tuple[NDArray[np.int16], bool]:
    """Decode a file in the product's sandbox: (samples,) at 16 kHz, and whether they were cut.

    What lies behind 30 s is dropped, as ``audio.py`` of Qwen-Audio drops it. Raises ``InvalidLine`` where there is
    no file, ``OSError``, and the exceptions under ``AudioError``.
    """
    if not path.is_file():
        raise InvalidLine(f"there is no audio file {path}")
    blocks = []
    samples = 0
    with path.open("rb") as stream, decode(stream, DecodeOptions()) as decoding:
        for block in decoding.blocks():
            blocks.append(block)
            samples = decoding.samples
            if samples > MAX_HEARD_SAMPLES:
                break
    return np.frombuffer(b"".join(blocks), "<i2")[:MAX_HEARD_SAMPLES], samples > MAX_HEARD_SAMPLES
