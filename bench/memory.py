"""Read how much memory processes hold, from Linux's /proc."""

from __future__ import annotations

import os
import threading
from pathlib import Path


class TreePeak:
    """Watch the memory of this process and its children, twenty times a second."""

    def __init__(self) -> None:
        self._peak_mb, self._ended = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        """Return the most that was seen, in MB."""
        self._ended.set()
        self._thread.join()
        return self._peak_mb

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            own = str(os.getpid())
            threads = Path(f"/proc/{own}/task").iterdir()
            pids = {pid for one in threads for pid in _text(one / "children").split()}
            self._peak_mb = max(self._peak_mb, sum(rss_mb("VmRSS", pid) for pid in {own, *pids}))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def rss_mb(name: str, pid: str = "self") -> float:
    """Return the figure that Linux calls ``VmRSS`` or ``VmHWM``, in MB; 0 where the process is gone."""
    lines = (line.split() for line in _text(Path(f"/proc/{pid}/status")).splitlines())
    return next((int(words[1]) / 1024 for words in lines if words[0] == f"{name}:"), 0.0)
