"""Name the recordings of a run."""

from __future__ import annotations

from chaos import fakes

BUCKET = "calls"
SOURCES = 400  # objects to choose from
POPULAR = 12  # of them are chosen often, so that jobs share results
ARCHIVES = 12  # prefixes, and as many manifests, to choose from
IN_ARCHIVE = 5  # recordings of each
PAGE = 2  # of a listing, so that each has several


def source_uri(number: int) -> str:
    """Return the URI of a recording; from ``SOURCES`` on there is none."""
    return f"s3://{BUCKET}/src/{number}.pcm"


def archive_uri(number: int) -> str:
    """Return a prefix."""
    return f"s3://{BUCKET}/archive/{number}/"


def manifest_uri(number: int) -> str:
    """Return where a manifest lies."""
    return f"s3://{BUCKET}/manifests/{number}.txt"


def listed(uri: str) -> list[str]:
    """Return the recordings that a prefix or a manifest names, in the order of a listing.

    Those below a prefix are copies of others; those of a manifest are the others themselves.
    """
    number = int(uri.removesuffix(".txt").strip("/").rpartition("/")[2])
    members = sorted(str((IN_ARCHIVE * number + member) % SOURCES) for member in range(IN_ARCHIVE))
    if uri.endswith("/"):
        return [f"{uri}{member}.pcm" for member in members]
    return [source_uri(int(member)) for member in members]


def pcm_of(seed: int, uri: str) -> bytes | None:
    """Return the samples of a source, also of an uploaded one; None where there is no such object."""
    number = int(uri.rpartition("/")[2].removesuffix(".pcm"))
    return fakes.make_pcm(seed, number) if number < SOURCES else None
