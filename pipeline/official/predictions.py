"""Keep predictions in a file, one JSON object a line, so that an interrupted evaluation goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.official.errors import OtherPredictions


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


class PredictionsFile:
    """Appends to a file of predictions; each is on disk's side of this process when ``add`` returns.

    A last line without its end, which a crash can leave behind, is dropped when the file is opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, asked: Mapping[int, Asked]) -> dict[int, Prediction]:
        """Return the answers there are to these questions, by line of the data; those to other lines are ignored.

        Raises ``OtherPredictions`` for an answer to another question and for a line that is none.
        """
        if not self._path.exists():
            return {}
        found = {}
        *lines, rest = self._path.read_bytes().split(b"\n")
        if rest:
            with self._path.open("r+b") as stream:
                stream.truncate(sum(len(line) + 1 for line in lines))
        for number, text in enumerate(lines, start=1):
            one = self._parse(number, text)
            if one.line in asked and one.asked != asked[one.line]:
                raise OtherPredictions(
                    f"{self._path}, line {number}: another question was answered here. Give another --out to "
                    f"start anew. There: {one.asked}. Now: {asked[one.line]}"
                )
            if one.line in asked:
                found[one.line] = one
        return found

    def open(self) -> BinaryIO:
        """Open the file for ``add``; raises ``OtherPredictions`` when it cannot be written."""
        try:
            return self._path.open("ab")
        except OSError as error:
            raise OtherPredictions(f"{self._path} cannot be written: {error.strerror}") from None

    def _parse(self, number: int, text: bytes) -> Prediction:
        try:
            fields = json.loads(text)
            asked = Asked(**{name: fields.pop(name) for name in Asked.__dataclass_fields__})
            one = Prediction(asked=asked, **fields)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise OtherPredictions(
                f"{self._path}, line {number}, is no prediction of ours: give another --out"
            ) from None
        if not (isinstance(one.line, int) and isinstance(one.prediction, str)):
            raise OtherPredictions(f"{self._path}, line {number}, is no prediction of ours")
        return one


def add(stream: BinaryIO, prediction: Prediction) -> None:
    """Append one line and hand it to the system."""
    fields = asdict(prediction)
    text = json.dumps({"line": fields.pop("line"), **fields.pop("asked"), **fields}, ensure_ascii=False)
    # A lone surrogate, which JSON can spell and UTF-8 cannot, becomes its JSON escape.
    stream.write(text.encode(errors="backslashreplace") + b"\n")
    stream.flush()
