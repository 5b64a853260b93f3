"""Hold the catalogue of bad input: the code of each kind, whether another try helps, what is kept."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.odd_audio import KEPT, ODD_AUDIO, REFUSED

import pipeline.errors
import storage.errors
from pipeline.errors import AudioError, InvalidAudio

API = Path(__file__).resolve().parents[3] / "docs" / "api.md"
RELIABILITY = Path(__file__).resolve().parents[3] / "docs" / "reliability.md"


def test_the_catalogue_is_long_enough():
    assert len(ODD_AUDIO) >= 35
    assert {odd.code for odd in REFUSED.values()} == {leaf.code for leaf in InvalidAudio.__subclasses__()}


@pytest.mark.parametrize("name", ODD_AUDIO)
def test_each_kind_of_input_gets_what_the_catalogue_says(decode_here, tmp_path, name):
    odd = ODD_AUDIO[name]
    path = odd.write(tmp_path)
    if odd.code is not None:
        with pytest.raises(InvalidAudio) as raised:
            decode_here(path, max_seconds=odd.max_seconds)
        assert (raised.value.code, raised.value.retryable) == (odd.code, False)
        return
    found, samples = decode_here(path, max_seconds=odd.max_seconds)
    least, most = odd.kept_seconds
    assert least <= len(samples) / 16_000 <= most
    assert [warning.code for warning in found.warnings][:1] == ([odd.warning] if odd.warning else [])
    assert found.truncated is odd.partial


def test_the_page_names_every_code_and_every_warning():
    page = RELIABILITY.read_text()
    codes = {leaf.code for leaf in _leaves(AudioError)} | {
        leaf.code for leaf in _leaves(storage.errors.StorageError)
    }
    codes |= {odd.warning for odd in KEPT.values() if odd.warning}
    internal = {"invalid_range", "speech_model_missing"}  # neither is a fault of an input
    of_manifests = {code for code in codes if code.startswith("manifest_")}
    base = {storage.errors.StorageError.code}  # of client notes, whose objects name their code themselves
    assert {code for code in codes - internal - of_manifests - base if f"`{code}`" not in page} == set()
    assert {code for code in of_manifests if f"`{code}`" not in API.read_text()} == set()


@pytest.mark.parametrize("module", [pipeline.errors, storage.errors])
def test_the_page_says_whether_another_try_helps(module):
    rows = [line.split("|") for line in RELIABILITY.read_text().splitlines() if line.startswith("| `")]
    again = {code: row[3].strip() for row in rows if len(row) > 4 for code in re.findall(r"`(\w+)`", row[1])}
    leaves = {
        leaf.code: leaf
        for leaf in _leaves(module.AudioError if module is pipeline.errors else module.StorageError)
    }
    for code, said in again.items():
        if code in leaves:
            assert said.startswith("yes" if leaves[code].retryable else "no"), code


def _leaves(kind):
    below = kind.__subclasses__()
    return [kind] if not below else [leaf for one in below for leaf in _leaves(one)]
