"""Judge the first bytes of a file, before and after a decoder refuses it; reads bytes, decodes nothing."""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO

from pipeline.errors import EmptyFile, UnsupportedFormat

HEAD_BYTES = 4_096

_PLAYLIST = re.compile(
    rb"(\xef\xbb\xbf)?\s*(#EXTM3U|#EXTINF|ffconcat version|v=0\r?\n|\[playlist\]|<asx|<smil|"
    rb"(<\?xml[^>]*\?>\s*)?(<!--.*?-->\s*)?<(\w+:)?MPD\b)",
    re.IGNORECASE | re.DOTALL,
)
_SIGNATURES = re.compile(
    rb"RIFF....WAVE|RF64....WAVE|RIFX|riff\x2e\x91\xcf\x11|fLaC|OggS|FORM....AIF[FC]|caff|#!AMR|\x1aE\xdf\xa3|"
    rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11|....(ftyp|moov|mdat|wide|free|skip)|ID3",
    re.DOTALL,
)
# What is encrypted has its own sample entry: enca (Common Encryption), drms (FairPlay), aavd (Audible).
_PROTECTED_ENTRY = re.compile(rb"stsd.{12}(enca|drms|aavd)", re.DOTALL)
_MOST_BOXES = 10_000  # at the top of a file; one of 4 GiB has room for half a milliard of them
_MAX_MOOV_BYTES = 64 * 1024 * 1024
_STREAMED_WAV_BYTES = 0x7FFF_F000  # writers that cannot seek put this or more into the size


def refuse_what_is_no_recording(head: bytes) -> None:
    """Raise ``EmptyFile`` or, for a list of other files under whatever name, ``UnsupportedFormat``."""
    if not head:
        raise EmptyFile("the file is empty")
    if _PLAYLIST.match(head):
        raise UnsupportedFormat("this is a playlist that points elsewhere: submit the recordings themselves")


def has_known_signature(head: bytes) -> bool:
    """Say whether the file begins like one of the accepted containers."""
    return _SIGNATURES.match(head) is not None


def is_protected(file: BinaryIO) -> bool:
    """Say whether an MP4 file announces an encrypted track; False for every other file."""
    size_bytes = file.seek(0, os.SEEK_END)
    position = 0
    for _ in range(_MOST_BOXES):
        if position >= size_bytes:  # a box may claim more than a file can hold
            return False
        file.seek(position)
        header = file.read(16)
        if len(header) < 8:
            return False
        size, kind = struct.unpack(">I4s", header[:8])
        if size == 1 and len(header) == 16:
            (size,) = struct.unpack(">Q", header[8:])
        if kind == b"moov":
            return _PROTECTED_ENTRY.search(file.read(min(size, _MAX_MOOV_BYTES))) is not None
        if size < 8:
            return False
        position += size
    return False


def declared_wav_seconds(file: BinaryIO, size_bytes: int) -> float | None:
    """Return what a WAV header claims when the file is shorter than that, else None.

    FFmpeg forgets the claim of a file that it could read to its end while probing. A header that was written while
    streaming claims nothing: 0, or a size near 2 or 4 GiB.
    """
    file.seek(0)
    if not re.match(rb"RIFF....WAVE", file.read(12), re.DOTALL):
        return None
    byte_rate = 0
    for _ in range(_MOST_BOXES):
        if len(header := file.read(8)) < 8:
            return None
        kind, size = struct.unpack("<4sI", header)
        start = file.tell()
        if kind == b"data":
            cut_off = start + size > size_bytes and size < _STREAMED_WAV_BYTES
            return size / byte_rate if cut_off and byte_rate else None
        if kind == b"fmt " and len(fields := file.read(12)) == 12:
            byte_rate = int.from_bytes(fields[8:], "little")
        file.seek(start + size + size % 2)
    return None
