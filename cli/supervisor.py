"""Keep the processes of a service running: start them, start dead ones again, end all of them together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.errors import ProcessFailed

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
QUICK_SECONDS = 30.0  # a process that lived longer than this had come up
MOST_QUICK_DEATHS = 5
GRACE_SECONDS = 15.0
TAIL_BYTES = 4_000


@dataclass(frozen=True)
class Command:
    """A process to keep running. With a ``log`` its output goes there, otherwise to ours."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)  # beside our own environment
    log: Path | None = None
    keep_fds: Sequence[int] = ()


def module_command(module: str, *argv: str) -> list[str]:
    """Return how to run one of our modules: -P, since a db.py or samples/ of the user's folder would go before ours."""
    return [sys.executable, "-P", "-m", module, *argv]


class _Child:
    """One command and its present process."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.quick_deaths = 0
        self.start_again_at = 0.0

    def start(self, now: float) -> None:
        """Start the process in a session of its own: Ctrl-C reaches us alone, and we end the others in order."""
        self.started_at = now
        log = None if self.command.log is None else open(self.command.log, "ab")  # noqa: SIM115 - closed below
        try:
            self.process = subprocess.Popen(  # noqa: S603 - our own commands
                module_command("cli.tether", str(os.getpid()), *self.command.argv),
                env={**os.environ, **self.command.env},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=self.command.keep_fds,
            )
        finally:
            if log is not None:
                log.close()

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the process, or to everything that it started."""
        if self.process is None or self.process.returncode is not None:
            return
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)


class Supervisor:
    """Run commands until ``stop``. Call ``poll`` now and then, from the thread that called ``start``.

    Without ``restart`` the first death is the end. ``tell`` is given one sentence for what happens.
    """

    def __init__(
        self,
        commands: Sequence[Command],
        *,
        tell: Callable[[str], None],
        restart: bool = True,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._children = [_Child(command) for command in commands]
        self._tell, self._restart, self._now = tell, restart, now

    def start(self) -> None:
        """Start every command."""
        for child in self._children:
            child.start(self._now())

    def poll(self) -> None:
        """Look after the processes once; raises ``ProcessFailed`` when one cannot be kept running."""
        for child in self._children:
            if child.process is None:
                if self._now() >= child.start_again_at:
                    child.start(self._now())
            elif (exit_code := child.process.poll()) is not None:
                self._bury(child, exit_code)

    def stop(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End every process: SIGTERM, and SIGKILL for its whole group when it takes too long."""
        for child in self._children:
            child.signal(signal.SIGTERM)
        end = time.monotonic() + grace_seconds
        for child in self._children:
            if child.process is None:
                continue
            try:
                child.process.wait(timeout=max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._tell(f"{child.command.name} does not end within {grace_seconds:.0f} s: killing it")
                child.signal(signal.SIGKILL, group=True)
                child.process.wait()
            child.process = None

    @property
    def pids(self) -> dict[str, int]:
        """The ids of the running processes by name."""
        return {
            child.command.name: child.process.pid for child in self._children if child.process is not None
        }

    def _bury(self, child: _Child, exit_code: int) -> None:
        child.process = None
        lived = self._now() - child.started_at
        child.quick_deaths = child.quick_deaths + 1 if lived < QUICK_SECONDS else 1
        fact = f"{child.command.name} ended with {describe_exit(exit_code)}"
        if not self._restart:
            raise ProcessFailed(fact + _tail(child.command.log))
        if child.quick_deaths >= MOST_QUICK_DEATHS:
            raise ProcessFailed(f"{fact}, {child.quick_deaths} times in a row{_tail(child.command.log)}")
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (child.quick_deaths - 1))
        child.start_again_at = self._now() + pause
        self._tell(f"{fact}; it starts again in {pause:.0f} s")


def describe_exit(exit_code: int) -> str:
    """Say how a process ended, as ``subprocess`` counts: negative for signals."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"signal {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"signal {-exit_code}"


def _tail(log: Path | None) -> str:
    """Return the end of a log, to be put behind a sentence."""
    if log is None or not log.exists():
        return ""
    text = log.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace").strip()
    return f". The end of {log}:\n{text}" if text else f". {log} is empty"
