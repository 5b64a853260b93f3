"""The bundled recordings are there, small, and what their description says."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from samples import FOLDER, Sample, list_samples

SAMPLES = list_samples()
by_name = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def test_listing_samples_decodes_nothing() -> None:
    code = (
        "import sys, samples; assert samples.list_samples(); "
        "sys.exit(bool({'pydub', 'av', 'numpy', 'torch', 'training'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_recordings_are_a_few_megabytes_and_nothing_lies_beside_them() -> None:
    files = sorted((FOLDER / "audio").iterdir())
    assert files == sorted(sample.path for sample in SAMPLES)
    assert sum(file.stat().st_size for file in files) < 4_000_000


def test_the_recordings_exercise_formats_rates_and_channels() -> None:
    assert {sample.path.suffix for sample in SAMPLES} == {".wav", ".flac", ".mp3", ".m4a", ".opus", ".ogg"}
    assert {sample.sampling_rate for sample in SAMPLES} == {8_000, 16_000, 44_100, 48_000}
    assert {sample.channels for sample in SAMPLES} == {1, 2}
    assert any(sample.duration_ms > 120_000 for sample in SAMPLES)
    assert any(sample.language is None for sample in SAMPLES)
    assert {sound.kind for sample in SAMPLES for sound in sample.sounds} == {"rain", "bell", "alarm", "glass"}


def test_each_emotion_is_heard() -> None:
    heard = {sample.truth["emotion"] for sample in SAMPLES}
    assert heard == {None, "neutral", "happy", "sad", "angry"}


@by_name
def test_a_recording_decodes_to_its_stated_form(sample: Sample, decode) -> None:
    wave, rate = decode(sample.path)
    assert (rate, wave.shape[1]) == (sample.sampling_rate, sample.channels)
    assert abs(len(wave) * 1_000 / rate - sample.duration_ms) < 50
    assert 0.1 < np.abs(wave).max() < 1.0, "loud enough, and not clipped"


@by_name
def test_speech_and_sounds_are_where_the_description_says(sample: Sample, decode, loudness) -> None:
    wave, rate = decode(sample.path)
    heard = [*sample.utterances, *sample.sounds]
    for one in heard:
        assert 0 <= one.start_ms < one.end_ms <= sample.duration_ms
        assert loudness(wave, rate, one.start_ms, one.end_ms)[one.channel or 0] > 0.01
    for word in sample.words:
        level = loudness(wave, rate, word.start_ms, word.end_ms)[word.channel or 0]
        assert level > 0.01, f"nobody says {word.word} at {word.start_ms} ms"
    edges = sorted({0, sample.duration_ms, *(e for one in heard for e in (one.start_ms, one.end_ms))})
    for start, end in pairwise(edges):
        covered = any(one.start_ms < end and one.end_ms > start for one in heard)
        if not covered and end - start > 150:
            # A voice fades for a moment behind its last phoneme.
            assert loudness(wave, rate, start + 100, end - 30).max() < 0.005, f"a sound at {start} ms"


@by_name
def test_the_truth_agrees_with_what_was_spoken(sample: Sample) -> None:
    assert set(sample.truth) == {"transcribe", "language", "caption", "scene", "events", "emotion"}
    assert len(sample.truth_by_channel) == (sample.channels if sample.split else 0)
    assert sample.truth["caption"]
    assert bool(sample.utterances) == (sample.language is not None) == (sample.truth["emotion"] is not None)
    said = " ".join(one.text for one in sample.utterances)
    plain = "".join(letter for letter in said.lower() if letter.isalpha() or letter == " ")
    assert (sample.truth["transcribe"] or "") == plain == " ".join(word.word for word in sample.words)


@by_name
def test_words_tile_their_lines_and_pauses_part_the_lines_of_a_channel(sample: Sample) -> None:
    words = list(sample.words)
    for line in sample.utterances:
        own = [words.pop(0) for _ in line.text.split()]
        assert (own[0].start_ms, own[-1].end_ms) == (line.start_ms, line.end_ms)
        assert {word.channel for word in own} == {line.channel}
        assert all(a.start_ms < a.end_ms <= b.start_ms for a, b in pairwise(own))
    assert not words
    for channel in {line.channel for line in sample.utterances}:
        lines = [line for line in sample.utterances if line.channel == channel]
        assert all(b.start_ms - a.end_ms >= 400 for a, b in pairwise(lines))


def test_each_voice_of_the_call_is_alone_on_its_channel(decode, loudness) -> None:
    (call,) = [sample for sample in SAMPLES if sample.split]
    wave, rate = decode(call.path)
    assert [one.channel for one in call.utterances[:4]] == [0, 1, 0, 1]
    for one in call.utterances:
        others = [o for o in call.utterances if o.channel != one.channel]
        if all(o.end_ms <= one.start_ms or o.start_ms >= one.end_ms for o in others):
            levels = loudness(wave, rate, one.start_ms, one.end_ms)
            assert levels[1 - (one.channel or 0)] < 0.05 * levels[one.channel or 0]
    overlaps = [b.start_ms < a.end_ms for a, b in pairwise(call.utterances)]
    assert any(overlaps), "once they speak at the same time"
