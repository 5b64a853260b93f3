"""Be the throw-away process that touches media bytes; ``pipeline.decode`` starts this file as a script.

One argument, a JSON object: see ``pipeline.decode``. PCM goes to stdout as it comes. The report pipe gets one JSON
line before the first sample (``media``), and one at the end (``end``, or ``error`` for what is refused).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO


def main(order: dict[str, Any]) -> None:
    """Confine this process, then decode as ordered."""
    sys.path.extend(order["path"])
    from pipeline.sandbox import confine

    confined = confine(order["memory_bytes"], order["cpu_seconds"])
    from pipeline.errors import InvalidAudio

    def tell(line: bytes) -> None:
        os.write(order["report_fd"], line + b"\n")

    with open(order["input_fd"], "rb", buffering=0) as file:
        try:
            run(file, order["channels"], order["max_samples"], write=_write_all, tell=tell, confined=confined)
        except InvalidAudio as error:
            tell(_line({"error": {"code": error.code, "message": str(error)}}))


def run(
    file: BinaryIO,
    channels: str,
    max_samples: int,
    *,
    write: Callable[[Any], object],
    tell: Callable[[bytes], object],
    confined: dict[str, bool],
) -> None:
    """Decode a file until its end or just beyond ``max_samples``: blocks go to ``write``, reports to ``tell``.

    Raises the ``InvalidAudio`` tree for what the header or a frame rules out.
    """
    # Only now, behind the walls: these import PyAV and numpy.
    from pipeline.decode_report import Tally
    from pipeline.media import describe, open_audio
    from pipeline.resampling import decode
    from pipeline.timeline import Channels

    tally = Tally()
    source = open_audio(file)
    first = {"media": vars(describe(source)), "confined": confined, "timeline_channels": 1}
    told = False
    for block in decode(source, Channels(channels), tally):
        if not told:
            tell(_line({**first, "timeline_channels": block.shape[1]}))
            told = True
        write(block)
        if tally.samples > max_samples:
            break
    if not told:
        tell(_line(first))
    tell(_line({"end": vars(tally)}))


def _line(report: dict[str, Any]) -> bytes:
    return json.dumps(report).encode()


def _write_all(block: Any) -> None:
    view = memoryview(block).cast("B")
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)  # all is written: tearing down a decoder would cost time, and could still crash
