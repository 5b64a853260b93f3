"""Decode a recording in a throw-away child process and hand on its timeline in blocks, within all limits.

What comes back from the child is bytes and a small report, and neither is trusted to be short or to end.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipeline.child_start import ENVIRONMENT, PROJECT, child_command
from pipeline.decode_report import AudioWarning, Media, Tally, is_cut_off, judge, parse_report
from pipeline.errors import DecodeCrashed, DecodeTimeout, DurationLimitExceeded, InvalidAudio
from pipeline.timeline import SAMPLE_BYTES, SAMPLING_RATE, Channels

BLOCK_SAMPLES = 131_072  # 8.192 s, 256 windows of the speech model
_PIPE_BYTES = 1024 * 1024  # room for the child to run ahead
_REPORT_BYTES = 64 * 1024  # more than any honest report
_STDERR_BYTES = 4 * 1024
_EXIT_SECONDS = 10.0  # from the end of the samples to the end of the process


@dataclass(frozen=True)
class DecodeOptions:
    """What to make of a recording, and what it may cost."""

    channels: Channels = Channels.MIX
    max_seconds: float = 24 * 3_600.0  # of decoded audio
    memory_bytes: int = 2 * 1024**3  # address space of the child
    stall_seconds: float = 60.0  # without a byte from the child
    wait_seconds: float | None = None  # for the child in all; the default grows with max_seconds
    cpu_seconds: int | None = None  # of the child; the default grows with max_seconds

    def __post_init__(self) -> None:
        if not 0 < self.max_seconds < float("inf"):
            raise ValueError(f"max_seconds is {self.max_seconds}: it has to be positive and finite")
        if self.memory_bytes < 256 * 1024**2:
            raise ValueError("memory_bytes is too little for a decoder: 256 MiB is the least")

    @property
    def max_samples(self) -> int:
        """The most samples of one channel that are accepted."""
        return int(self.max_seconds * SAMPLING_RATE)

    @property
    def all_cpu_seconds(self) -> int:
        """CPU time of the child: decoding at 20 x real time is slower than any accepted codec."""
        return self.cpu_seconds if self.cpu_seconds is not None else 60 + int(self.max_seconds / 20)

    @property
    def all_wait_seconds(self) -> float:
        """How long this process waits for the child in all; its own time, say for storing, does not count."""
        return self.wait_seconds if self.wait_seconds is not None else 120 + self.max_seconds / 10


class Decoding:
    """A recording being decoded: what it is, its samples, and, when they are read, what was odd about it."""

    def __init__(self, child: _Child, options: DecodeOptions) -> None:
        first = child.next_report("media")
        self._child, self._options = child, options
        self.media: Media = first["media"]
        self.channel_count: int = first["timeline_channels"]
        self.confined: dict[str, bool] = first["confined"]
        self.samples = 0  # of one channel, handed on so far
        self.warnings: tuple[AudioWarning, ...] = ()
        self.truncated = False  # far less decoded than was declared

    def blocks(self) -> Iterator[bytes]:
        """Yield interleaved PCM in blocks of ``BLOCK_SAMPLES`` (the last is shorter); to be called once.

        After the last block ``warnings`` and ``truncated`` are final. Raises the ``InvalidAudio`` tree for a
        recording that turns out to be unfit, ``DecodeTimeout`` and ``DecodeCrashed``.
        """
        frame_bytes = self.channel_count * SAMPLE_BYTES
        while block := self._child.read(BLOCK_SAMPLES * frame_bytes):
            self.samples += len(block) // frame_bytes
            if self.samples > self._options.max_samples:
                self._child.kill()
                raise DurationLimitExceeded(
                    f"the recording is longer than the allowed {self._options.max_seconds:g} s"
                )
            yield block
        tally: Tally = self._child.next_report("end")["end"]
        self._child.expect_end()
        if tally.samples != self.samples:
            raise DecodeCrashed(f"the decoder reported {tally.samples} samples and handed on {self.samples}")
        self.warnings = judge(self.media, tally, self._options.max_samples)
        self.truncated = is_cut_off(self.media, tally)


@contextmanager
def decode(file: BinaryIO, options: DecodeOptions) -> Iterator[Decoding]:
    """Start decoding an open, seekable local file; the child is gone when the ``with`` block ends, however it ends.

    Only the open file goes to the child; its path and name are never used. The child moves the file's position.
    Raises the ``InvalidAudio`` tree for what is refused by its header.
    """
    with _Child(file, options) as child:
        yield Decoding(child, options)


class _Child:
    """The decode child and its three pipes: samples, report, stderr."""

    def __init__(self, file: BinaryIO, options: DecodeOptions) -> None:
        self._options = options
        self._waited_seconds = 0.0
        self._report, report_end = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own script, and no input in the arguments
                child_command(_SCRIPT, _order(file, report_end, options)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(file.fileno(), report_end),
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
                bufsize=0,
            )
        except BaseException:
            os.close(self._report)
            raise
        finally:
            os.close(report_end)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout.fileno(), self._process.stderr.fileno()
        _widen(self._stdout)
        self._kept = {self._report: bytearray(), self._stderr: bytearray()}
        self._caps = {self._report: _REPORT_BYTES, self._stderr: _STDERR_BYTES}
        self._open = {self._stdout, self._report, self._stderr}

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()
        os.close(self._report)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def read(self, count: int) -> bytes:
        """Return the next ``count`` bytes of samples; fewer at their end."""
        block = bytearray(count)
        filled = 0
        with memoryview(block) as view:
            while filled < count and self._stdout in self._open:
                if self._stdout in self._wait():
                    got = os.readv(self._stdout, [view[filled:]])
                    filled += got
                    if not got:
                        self._open.discard(self._stdout)
        return bytes(block) if filled == count else bytes(block[:filled])

    def next_report(self, kind: str) -> dict[str, Any]:
        """Return the next line of the report, which has to be of this kind; raises what it says instead."""
        kept = self._kept[self._report]
        while b"\n" not in kept and self._report in self._open:
            self._wait()
        line, _, rest = bytes(kept).partition(b"\n")
        kept[:] = rest
        try:
            report = parse_report(line)
        except (ValueError, TypeError, KeyError):
            # A process that was taken over can write anything here: what is no report counts as a crash.
            raise self._why_it_ended() from None
        if isinstance(report, InvalidAudio):
            raise report
        if kind not in report:
            raise self._why_it_ended()
        return report

    def expect_end(self) -> None:
        """Wait for the process to end well."""
        self._await_exit(_EXIT_SECONDS)
        self.kill()
        if self._process.returncode != 0:
            raise self._why_it_ended()

    def kill(self) -> None:
        """End the child and whatever it may have started, also when it has ended by itself and left that behind."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):  # nobody of the group lives
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _await_exit(self, seconds: float) -> None:
        """Wait for the child to exit, and do not collect it: while it is a zombie its group is nobody else's."""
        if not hasattr(os, "waitid"):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
            return
        until = time.monotonic() + seconds
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while self._process.returncode is None and os.waitid(os.P_PID, self._process.pid, look) is None:
            if time.monotonic() > until:
                return
            time.sleep(0.002)

    def _wait(self) -> set[int]:
        """Wait until a pipe has something; take in report and stderr, leave samples to the caller."""
        began = time.monotonic()
        left = min(self._options.stall_seconds, self._options.all_wait_seconds - self._waited_seconds)
        # A child that only writes to stderr makes no progress, yet is bounded by all_wait_seconds and its CPU limit.
        ready = set(select.select(list(self._open), [], [], max(left, 0.0))[0])
        self._waited_seconds += time.monotonic() - began
        if not ready:
            self.kill()
            raise DecodeTimeout(
                f"the decoder was stopped after {self._waited_seconds:.0f} s of waiting for it"
            )
        for pipe in ready - {self._stdout}:
            data = os.read(pipe, 65_536)
            if not data:
                self._open.discard(pipe)
            room = self._caps[pipe] - len(self._kept[pipe])
            self._kept[pipe] += data[:room]
        return ready

    def _why_it_ended(self) -> DecodeTimeout | DecodeCrashed:
        self._await_exit(1.0)
        self.kill()
        status = self._process.returncode
        if status == -signal.SIGXCPU:
            return DecodeTimeout(f"the decoder used up its {self._options.all_cpu_seconds} s of CPU time")
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        words = self._kept[self._stderr].decode(errors="backslashreplace")
        return DecodeCrashed(f"the decoding process ended {how} and without a report", words)


_SCRIPT = PROJECT / "pipeline" / "decode_child.py"


def _order(file: BinaryIO, report_end: int, options: DecodeOptions) -> dict[str, Any]:
    return {
        "input_fd": file.fileno(),
        "report_fd": report_end,
        "channels": options.channels,
        "max_samples": options.max_samples,
        "memory_bytes": options.memory_bytes,
        "cpu_seconds": options.all_cpu_seconds,
    }


def _widen(pipe: int) -> None:
    """Let the child run ahead of us by more than the usual 64 KiB, where the platform knows how."""
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # over the user's allowance: the usual size does as well
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
