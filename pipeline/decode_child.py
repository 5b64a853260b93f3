"""Be the throw-away process that touches media bytes; started by ``pipeline.decode`` as a script, never imported.

One argument, a JSON object: see ``pipeline.decode``. PCM goes to stdout as it comes. The report pipe gets one JSON
line before the first sample (``media``) and one at the end (``end`` or ``error``).
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Confine this process, then decode as ordered."""
    sys.path.extend(order["path"])
    from pipeline.sandbox import confine

    confined = confine(order["memory_bytes"], order["cpu_seconds"])
    from pipeline.errors import InvalidAudio

    with open(order["report_fd"], "w") as report:
        try:
            run(order, confined, lambda line: print(json.dumps(line), file=report, flush=True))
        except InvalidAudio as error:
            print(json.dumps({"error": {"code": error.code, "message": str(error)}}), file=report)


def run(order: dict[str, Any], confined: dict[str, bool], tell: Any) -> None:
    """Decode the file to stdout, and report."""
    from dataclasses import asdict

    from pipeline.decode_report import Tally
    from pipeline.media import decode, open_audio
    from pipeline.timeline import Channels

    tally = Tally()
    with open(order["input_fd"], "rb", buffering=0) as file:
        source = open_audio(file)
        media = {
            "container": source.container.format.name,
            "codec": source.codec,
            "sampling_rate": source.stream.codec_context.sample_rate,
            "channels": source.stream.codec_context.layout.nb_channels,
            "declared_seconds": source.declared_seconds,
            "audio_streams": source.audio_streams,
            "audio_stream": source.stream.index,
        }
        told = False
        for block in decode(source, Channels(order["channels"]), tally):
            if not told:
                tell({"media": media, "timeline_channels": block.shape[1], "confined": confined})
                told = True
            write_all(block)
            if tally.samples > order["max_samples"]:
                break
        if not told:
            tell({"media": media, "timeline_channels": 1, "confined": confined})
        tell({"end": asdict(tally)})


def write_all(block: Any) -> None:
    """Write to stdout, all of it."""
    view = memoryview(block).cast("B")
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
