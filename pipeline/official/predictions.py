"""Keep predictions in a file, one JSON object a line, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.official.errors import OtherPredictions

_HEAD = b'{"line": '  # how every line of ours begins


@dataclass(frozen=True)
class Asked:
    """What makes two questions the same: task, weights, prompt and clip."""

    task: str
    model: str  # the engine's revision
    prompt: str
    audio: str


@dataclass(frozen=True)
class Prediction:
    """One answer, as it came and as it was read; ``was_cut`` says that the clip was longer than 30 s."""

    line: int
    asked: Asked
    source: str
    gt: Any
    prediction: str
    parsed: Any
    was_cut: bool


def read_predictions(path: Path, asked: Mapping[int, Asked]) -> dict[int, Prediction]:
    """Return the answers there are to these questions, by line of the data; those to other lines are ignored.

    A last line without its end, which a crash can leave behind, is taken out of the file, so that more can be added.
    Raises ``OtherPredictions`` for an answer to another question and for a file that is not ours, and leaves it alone.
    """
    if not path.exists():
        return {}
    found = {}
    *lines, rest = path.read_bytes().split(b"\n")
    for number, text in enumerate(lines, start=1):
        one = _parse(text, f"{path}, line {number}")
        if one.line not in asked:
            continue
        if one.asked != asked[one.line]:
            raise OtherPredictions(
                f"{path}, line {number}, answers another question: give another --out to start anew. "
                f"There: {one.asked}. Now: {asked[one.line]}"
            )
        found[one.line] = one
    if rest:
        if not rest.startswith(_HEAD[: len(rest)]):
            raise _not_ours(f"{path}, line {len(lines) + 1}")
        with path.open("r+b") as stream:
            stream.truncate(sum(len(text) + 1 for text in lines))
    return found


def add_prediction(stream: BinaryIO, prediction: Prediction) -> None:
    """Append one line and hand it to the system."""
    fields = asdict(prediction)
    text = json.dumps({"line": fields.pop("line"), **fields.pop("asked"), **fields}, ensure_ascii=False)
    # A lone surrogate, which JSON can spell and UTF-8 cannot, becomes its JSON escape.
    stream.write(text.encode(errors="backslashreplace") + b"\n")
    stream.flush()


def _parse(text: bytes, where: str) -> Prediction:
    try:
        fields = json.loads(text)
        asked = Asked(**{name: fields.pop(name) for name in Asked.__dataclass_fields__})
        one = Prediction(asked=asked, **fields)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise _not_ours(where) from None
    if not (isinstance(one.line, int) and isinstance(one.prediction, str)):
        raise _not_ours(where)
    return one


def _not_ours(where: str) -> OtherPredictions:
    return OtherPredictions(f"{where}, is no prediction of ours: give another --out")
