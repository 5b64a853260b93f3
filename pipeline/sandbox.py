"""Take away from this process what a decoder does not need, before it touches hostile bytes.

Called by the decode child on itself: limits that the child sets are limits for whatever takes it over, and setting
them here spares the parent, which has threads, any code between fork and exec. Imports the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_OPEN_FILES = 64
_NICENESS = 10
_CPU_GRACE_SECONDS = 5


def confine(memory_bytes: int, cpu_seconds: int) -> dict[str, bool]:
    """Limit this process and cut it off the network where the platform allows; say which of it worked.

    Keys: ``network_removed``, ``no_new_privileges``. Has to run before any thread starts: a user namespace can only
    be entered by a process with one thread.
    """
    removed = _remove_network()
    settled = _set_process_controls()
    os.nice(_NICENESS)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)  # pipes are not files: nothing else needs writing
    _limit(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _limit(resource.RLIMIT_NPROC, 0)  # neither processes nor threads; the kernel exempts root from it
    # SIGXCPU at the soft limit tells a used-up budget from a SIGKILL that came from elsewhere.
    _limit(resource.RLIMIT_CPU, cpu_seconds, grace=_CPU_GRACE_SECONDS)
    _limit(resource.RLIMIT_AS, memory_bytes)
    return {"network_removed": removed, "no_new_privileges": settled}


def _limit(kind: int, value: int, grace: int = 0) -> None:
    most = resource.getrlimit(kind)[1]
    soft, hard = (
        limit if most == resource.RLIM_INFINITY else min(limit, most) for limit in (value, value + grace)
    )
    resource.setrlimit(kind, (soft, hard))


def _remove_network() -> bool:
    """Enter a network namespace that holds nothing; a user namespace makes that possible without root."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    return any(libc.unshare(flags) == 0 for flags in (_CLONE_NEWUSER | _CLONE_NEWNET, _CLONE_NEWNET))


def _set_process_controls() -> bool:
    """Die with the parent, and never gain privileges by executing something."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return bool(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
