"""Name the recordings of a run."""

from __future__ import annotations

from chaos import fakes

BUCKET = "calls"
SOURCES = 400  # objects to choose from
POPULAR = 12  # of them are chosen often, so that jobs share results


def source_uri(number: int) -> str:
    """Return the URI of a recording; from ``SOURCES`` on there is none."""
    return f"s3://{BUCKET}/src/{number}.pcm"


def pcm_of(seed: int, uri: str) -> bytes | None:
    """Return the samples of a source, also of an uploaded one; None where there is no such object."""
    number = int(uri.rpartition("/")[2].removesuffix(".pcm"))
    return fakes.make_pcm(seed, number) if number < SOURCES else None
