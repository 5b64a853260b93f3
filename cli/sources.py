"""Find what the user named: files, folders, patterns, and URIs that are passed on."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from cli.errors import SourceNotFound
from storage.selection import AUDIO_SUFFIXES

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def find_sources(arguments: Iterable[str]) -> list[Path | str]:
    """Return files to upload as paths and everything else as URIs, each once, in the order named.

    A folder stands for the audio files in it and below, by their endings; a file that is named itself may end as
    it likes. Raises ``SourceNotFound``.
    """
    found = (source for argument in arguments for source in _sources_of(argument))
    return list(dict.fromkeys(found))


def _sources_of(argument: str) -> Iterator[Path | str]:
    path = Path(argument)
    if not argument:  # as a path it would be the present folder, all of it
        raise SourceNotFound("a source has no name: is a variable empty?")
    if _URI.match(argument):
        yield argument
    elif path.is_dir():
        yield from _audio_below(path)
    elif path.exists():
        yield path
    else:
        yield from _matching(argument)


def _audio_below(folder: Path) -> list[Path]:
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in AUDIO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not files:
        raise SourceNotFound(f"{folder} holds no audio files ({' '.join(sorted(AUDIO_SUFFIXES))})")
    return files


def _matching(pattern: str) -> list[Path]:
    files = [path for path in map(Path, sorted(glob.glob(pattern, recursive=True))) if path.is_file()]
    if not files:
        raise SourceNotFound(f"there is no file {pattern}: name files, folders, s3:// or file:// URIs")
    return files
