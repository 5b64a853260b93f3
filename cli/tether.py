"""Run a command that ends with its parent: ``python -m cli.tether PARENT_PID COMMAND...``.

Without it, killing ``earwitness up`` with -9 would leave workers behind, and the port taken. Imports the standard
library only.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Become ``command``, and get SIGTERM when ``parent`` dies; where there is no such signal, just become it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - the command comes from our own supervisor


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
