"""Say what a job would hear without storing anything: count objects and bytes, and estimate hours from a sample.

Bounded in objects and in time. What is not counted to its end, or is extrapolated, is said to be so.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from os.path import splitext
from typing import BinaryIO

from api.dry_run_views import DryRunView, SkippedView, SourceCountView
from api.submissions import Source
from db.expanding import NO_OBJECTS, why_nothing
from db.states import SourceKind
from pipeline.probe import probe
from storage import ObjectInfo, ObjectStore, StorageError
from storage.manifests import BadLine, ManifestLimits, read_manifest
from storage.selection import Selection
from storage.uploads import resolve_source

MAX_OBJECTS = 200_000
LIST_SECONDS = 8.0
SIZED = 100  # objects named one by one that are asked for their size; the others are extrapolated
SAMPLE = 16  # files whose headers are read
PROBE_SECONDS = 20.0
HEAD_BYTES, TAIL_BYTES = 1024 * 1024, 256 * 1024  # of a probed file: headers stand at the ends
EXAMPLES = 5
NOT_PROBED = "not_probed"  # the header of an object could not be looked at here
_NO_ANSWER = ("decode_timeout", "decode_crashed")  # says nothing of the file's length


class _OutOfTime(Exception):
    """The dry run has looked at as much as it may."""


@dataclass
class _Sample:
    """Keep ``size`` of a stream at random, each with the same chance."""

    size: int
    random: random.Random
    kept: list[ObjectInfo] = field(default_factory=list)
    offered: int = 0

    def offer(self, one: ObjectInfo) -> None:
        self.offered += 1
        if len(self.kept) < self.size:
            self.kept.append(one)
        elif (place := self.random.randrange(self.offered)) < self.size:
            self.kept[place] = one


@dataclass
class _Tally:
    """What has been counted so far, over all sources."""

    objects: int = 0
    bytes_by_suffix: Counter[str] = field(default_factory=Counter)
    unsized: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, code: str, example: str) -> None:
        self.skipped[code] += 1
        shown = self.examples.setdefault(code, [])
        if len(shown) < EXAMPLES:
            shown.append(example)


@dataclass
class _Estimate:
    """What the sample says of all objects. The odd ones are (code, URI)."""

    seconds: float | None
    probed: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # of those probed
    unprobed: list[tuple[str, str]] = field(default_factory=list)


class DryRun:
    """One dry run. ``seed`` decides which files are probed."""

    def __init__(
        self, store: ObjectStore, storage_url: str, tenant: str, limits: ManifestLimits, *, seed: int = 0
    ) -> None:
        self._store, self._storage_url, self._tenant, self._limits = store, storage_url, tenant, limits
        self._tally = _Tally()
        self._sample = _Sample(SAMPLE, random.Random(seed))  # noqa: S311 - a sample, not a secret
        self._named: set[str] = set()
        self._ends_at = time.monotonic() + LIST_SECONDS

    def run(self, sources: Sequence[Source]) -> DryRunView:
        """Look at all sources, in their order, and return what was found; errors of a source are a part of it."""
        shown, complete = [], True
        for source in sources:
            if source.uri is not None:
                self._name(source.uri)
                continue
            before, skipped = self._tally.objects, self._tally.skipped.total()
            seen, error = 0, None
            try:
                for _ in self._entries(source):
                    seen += 1
                    if time.monotonic() > self._ends_at or self._tally.objects >= MAX_OBJECTS:
                        raise _OutOfTime
                if self._tally.objects == before:
                    error = _why_nothing(source, seen, self._tally.skipped.total() - skipped)
            except _OutOfTime:
                complete = False
            except StorageError as caught:
                error = f"{caught.code}: {caught}"
            where = source.prefix or source.manifest or ""
            shown.append(SourceCountView(uri=where, objects=self._tally.objects - before, error=error))
        sized = self._size_named()
        return self._view(shown, complete, all_sized=sized)

    def _entries(self, source: Source) -> Iterator[None]:
        """Count one source object by object; yields after each so that the caller can stop."""
        if source.prefix is not None:
            selection = Selection(source.prefix, source.glob, self._storage_url)
            for one in self._store.list(source.prefix):
                if (refusal := selection.refusal(one.uri)) is not None:
                    self._tally.skip(refusal, one.uri)
                elif one.uri not in self._named:
                    self._named.add(one.uri)
                    self._take(one)
                yield
            return
        assert source.manifest is not None
        location = resolve_source(source.manifest, self._tenant, self._storage_url)
        for line in read_manifest(self._store.stream(location), self._limits):
            if isinstance(line, BadLine):
                self._tally.skip(line.code, f"line {line.number}: {line.message}")
            else:
                self._name(line.uri)
            yield

    def _name(self, uri: str) -> None:
        """Count an object of which only the name is known."""
        if uri in self._named:
            return
        self._named.add(uri)
        self._tally.objects += 1
        self._tally.unsized.append(uri)

    def _take(self, one: ObjectInfo) -> None:
        self._tally.objects += 1
        self._weigh(one)

    def _weigh(self, one: ObjectInfo) -> None:
        self._tally.bytes_by_suffix[_suffix(one.uri)] += one.size_bytes
        self._sample.offer(one)

    def _size_named(self) -> bool:
        """Ask for the sizes of objects that were only named, of a sample when they are many; extrapolate the rest.

        Returns whether every one was asked.
        """
        named = self._tally.unsized
        asked = self._sample.random.sample(named, SIZED) if len(named) > SIZED else named
        ends_at = time.monotonic() + LIST_SECONDS
        found, tried = Counter[str](), 0
        for uri in asked:
            if time.monotonic() > ends_at:
                break
            tried += 1
            try:
                one = self._store.head(resolve_source(uri, self._tenant, self._storage_url))
            except StorageError as error:
                self._tally.skip(error.code, uri)
                self._tally.objects -= 1
                continue
            found[_suffix(uri)] += one.size_bytes
            self._sample.offer(one)
        for suffix, size in found.items():
            self._tally.bytes_by_suffix[suffix] += round(size * len(named) / tried)
        return tried == len(named)

    def _view(self, sources: list[SourceCountView], complete: bool, *, all_sized: bool) -> DryRunView:
        found = self._estimate()
        return DryRunView(
            complete=complete,
            objects=self._tally.objects,
            bytes=self._tally.bytes_by_suffix.total(),
            bytes_extrapolated=not all_sized,
            estimated_hours=None if found.seconds is None else round(found.seconds / 3600, 4),
            hours_extrapolated=found.probed < self._tally.objects,
            probed=found.probed,
            probed_unreadable=_by_code(found.unreadable),
            not_probed=_by_code(found.unprobed),
            skipped=[
                SkippedView(code=code, count=count, examples=self._tally.examples[code])
                for code, count in sorted(self._tally.skipped.items())
            ],
            sources=sources,
        )

    def _estimate(self) -> _Estimate:
        """Look into the sample. Seconds per byte of it, for each suffix apart where the sample has it."""
        sample = self._sample.kept
        with ExitStack() as files:
            ends_at = time.monotonic() + PROBE_SECONDS
            opened: list[tuple[ObjectInfo, BinaryIO]] = []
            found = _Estimate(None)
            for one in sample:
                if time.monotonic() >= ends_at:
                    break
                try:
                    opened.append((one, self._fetch_ends(one, files)))
                except StorageError as error:
                    found.unprobed.append((error.code, one.uri))
                except OSError:  # our own disk: the object may be sound, and says nothing about the others
                    found.unprobed.append((NOT_PROBED, one.uri))
            answers = probe([file for _, file in opened], PROBE_SECONDS)
        seconds: dict[str, float] = defaultdict(float)
        sizes: Counter[str] = Counter()
        for (one, _), answer in zip(opened, answers, strict=True):
            if answer.code is not None:
                gave_none = answer.code in _NO_ANSWER
                (found.unprobed if gave_none else found.unreadable).append((answer.code, one.uri))
                if gave_none:
                    continue
            # What cannot be read is heard for no time, and stands for others like it.
            found.probed += 1
            sizes[_suffix(one.uri)] += one.size_bytes
            seconds[_suffix(one.uri)] += answer.seconds or 0.0
        if not sizes.total():
            all_empty = found.probed and not self._tally.bytes_by_suffix.total()
            found.seconds = 0.0 if all_empty or not self._tally.objects else None
            return found
        overall = sum(seconds.values()) / sizes.total()
        all_seconds = sum(
            size * (seconds[suffix] / sizes[suffix] if sizes[suffix] else overall)
            for suffix, size in self._tally.bytes_by_suffix.items()
        )
        found.seconds = all_seconds if math.isfinite(all_seconds) else None
        return found

    def _fetch_ends(self, one: ObjectInfo, files: ExitStack) -> BinaryIO:
        """Return a sparse file as long as the object, with its first and last bytes in place.

        Raises ``StorageError``, and ``OSError`` where our own disk does not take it.
        """
        file = files.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        file.truncate(one.size_bytes)
        head = min(one.size_bytes, HEAD_BYTES)
        tail = max(head, one.size_bytes - TAIL_BYTES)
        for start, end in ((0, head), (tail, one.size_bytes)):
            file.seek(start)
            file.write(self._store.read(one.uri, start, end, version=one.version))
        file.flush()
        return file


def _why_nothing(source: Source, seen: int, skipped: int) -> str | None:
    """Return the error that a job would have of a source that brings nothing."""
    if source.prefix is None:
        why = why_nothing(SourceKind.MANIFEST, None, seen=seen, skipped=0, lines_bad=skipped)
    else:
        why = why_nothing(SourceKind.PREFIX, source.glob, seen=seen, skipped=skipped, lines_bad=0)
    return None if why is None else f"{NO_OBJECTS}: {source.prefix or source.manifest}: {why}"


def _by_code(odd: Sequence[tuple[str, str]]) -> list[SkippedView]:
    uris: dict[str, list[str]] = {}
    for code, uri in odd:
        uris.setdefault(code, []).append(uri)
    return [
        SkippedView(code=code, count=len(uris[code]), examples=uris[code][:EXAMPLES]) for code in sorted(uris)
    ]


def _suffix(uri: str) -> str:
    return splitext(uri)[1].lower()
