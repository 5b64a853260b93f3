"""Be the throw-away process that reads headers; ``pipeline.probe`` starts this file as a script.

One argument, a JSON object: see ``pipeline.probe``. One JSON line for each file, as soon as it is known.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Confine this process, then look at one file after the other."""
    sys.path.extend(order["path"])
    from pipeline.sandbox import confine

    confine(order["memory_bytes"], order["cpu_seconds"])
    for descriptor in order["fds"]:
        os.write(1, json.dumps(look(descriptor)).encode() + b"\n")


def look(descriptor: int) -> dict[str, Any]:
    """Return the seconds that a file's header declares, or that its bit rate makes likely; else a code."""
    # Only now, behind the walls: these import PyAV and numpy.
    import av

    from pipeline.errors import InvalidAudio
    from pipeline.media import open_audio

    with open(descriptor, "rb", buffering=0, closefd=False) as file:
        try:
            source = open_audio(file)
        except InvalidAudio as error:
            return {"code": error.code}
        seconds = source.declared_seconds
        if seconds is None and source.container.duration is not None:
            seconds = source.container.duration / av.time_base
        return {"seconds": seconds} if seconds is not None else {"code": "length_unknown"}


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)
