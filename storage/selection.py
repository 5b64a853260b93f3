"""Say which objects below a prefix are taken: those that a glob names, else those whose names look like audio.

Our own objects (timelines, uploads) are never taken, wherever the prefix points: they belong to tenants.
"""

from __future__ import annotations

import fnmatch
import os
import re
from functools import cached_property

from storage.errors import InvalidUri
from storage.uploads import check_source, real_folder
from storage.uris import parse_file, scheme_of

AUDIO_SUFFIXES = frozenset(
    {
        *(".aac", ".aif", ".aifc", ".aiff", ".amr", ".caf", ".flac", ".m4a", ".mka", ".mkv", ".mov"),
        *(".mp2", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".w64", ".wav", ".wave", ".webm", ".wma", ".3gp"),
    }
)
MAX_GLOB_CHARACTERS = 256

NOT_AUDIO, OUTSIDE_GLOB, INVALID_NAME, OWN_OBJECT = "not_audio", "outside_glob", "invalid_name", "own_object"
"""Why an object is passed over."""


class Glob:
    """A pattern over the part of a key behind its prefix: ``*`` and ``?`` stay inside a folder, ``**`` crosses them.

    Case counts. Matching takes time in proportion to key and pattern, whatever the pattern: it comes from clients.
    """

    def __init__(self, pattern: str) -> None:
        self._parts = [None if part == "**" else _part(part) for part in check_glob(pattern).split("/")]

    def matches(self, name: str) -> bool:
        """Say whether the pattern covers the whole name."""
        names = name.split("/")
        place = at = 0
        star = restart = -1
        while at < len(names):
            part = self._parts[place] if place < len(self._parts) else _NOTHING
            if part is None:
                star, restart, place = place, at, place + 1
            elif part.match(names[at]):
                place, at = place + 1, at + 1
            elif star >= 0:  # let the last ** take one folder more
                restart += 1
                place, at = star + 1, restart
            else:
                return False
        return all(part is None for part in self._parts[place:])


_NOTHING = re.compile(r"(?!)")


def _part(pattern: str) -> re.Pattern[str]:
    # translate() makes atomic groups of the stars: no pattern takes more than quadratic time.
    return re.compile(fnmatch.translate(pattern))


def check_glob(pattern: str) -> str:
    """Return the pattern; raises ``InvalidUri`` for one that could never match or is too long."""
    if not 1 <= len(pattern) <= MAX_GLOB_CHARACTERS:
        raise InvalidUri(f"a glob is 1 to {MAX_GLOB_CHARACTERS} characters, such as **/*.wav")
    if not pattern.isprintable():
        raise InvalidUri("a glob may hold printable characters only")
    if pattern.startswith("/"):
        raise InvalidUri("a glob is matched behind the prefix: it does not begin with a slash")
    return pattern


def check_prefix(prefix: str) -> str:
    """Return ``prefix`` when it can be listed: ``s3://bucket/...`` or ``file:///...``; raises ``InvalidUri``."""
    if not prefix:
        raise InvalidUri("the prefix is empty: use s3://bucket/folder/ or file:///folder/")
    scheme_of(prefix)  # an upload cannot be listed
    check_source(prefix + ("/x" if prefix.count("/") == 2 else "x"))  # s3://bucket alone means all of it
    return prefix


class Selection:
    """Judge the objects of one prefix, one by one."""

    def __init__(self, prefix: str, glob: str | None, storage_url: str) -> None:
        self._prefix = prefix
        self._glob = None if glob is None else Glob(glob)
        self._storage_url = storage_url.rstrip("/") + "/"
        self._is_file = scheme_of(prefix) == "file"
        self._start = len(parse_file(prefix)) if self._is_file else len(prefix)

    def refusal(self, uri: str) -> str | None:
        """Return why the object is passed over, None when it is taken."""
        try:
            check_source(uri)
        except InvalidUri:
            return INVALID_NAME
        path = parse_file(uri) if self._is_file else uri
        if self._is_own(path):
            return OWN_OBJECT
        name = path[self._start :].removeprefix("/") if self._is_file else path[self._start :]
        if self._glob is not None:
            return None if self._glob.matches(name) else OUTSIDE_GLOB
        return None if looks_like_audio(name) else NOT_AUDIO

    def _is_own(self, path: str) -> bool:
        if not self._is_file:
            return path.startswith(self._storage_url)
        if self._storage_folder is None:
            return False
        # The walk follows no links below the prefix: only the way to it has to be resolved.
        return (self._real_folder + path[len(self._folder) :]).startswith(self._storage_folder)

    @cached_property
    def _folder(self) -> str:
        return parse_file(self._prefix).rpartition("/")[0] + "/"

    @cached_property
    def _real_folder(self) -> str:
        return os.path.realpath(self._folder).rstrip("/") + "/"

    @cached_property
    def _storage_folder(self) -> str | None:
        return real_folder(self._storage_url) if self._storage_url.startswith("file:") else None


def looks_like_audio(name: str) -> bool:
    """Say whether a name ends like audio and no part of it is hidden by a dot."""
    *_, last = parts = name.split("/")
    return os.path.splitext(last)[1].lower() in AUDIO_SUFFIXES and not any(p.startswith(".") for p in parts)
