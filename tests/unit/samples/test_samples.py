"""The bundled recordings are there, small, and what their description says."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from samples import FOLDER, Sample, list_samples, make, voices
from samples.make import encode
from samples.scenes import ANNA, CALL, SCENES, VOICEMAIL, Encoding, Say, Scene
from samples.sounds import synthesise

SAMPLES = list_samples()
by_name = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def decode(path: Path) -> tuple[NDArray[np.float32], int]:
    """``(samples, channels)`` and the sampling rate."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("flt", stream.layout, stream.rate)
        frames = [piece for frame in container.decode(stream) for piece in resampler.resample(frame)]
        channels = stream.channels
    return np.concatenate([frame.to_ndarray().reshape(-1, channels) for frame in frames]), stream.rate


def loudness(wave: NDArray[np.float32], rate: int, start_ms: int, end_ms: int) -> NDArray[np.float32]:
    """RMS of each channel between two times."""
    piece = wave[start_ms * rate // 1_000 : end_ms * rate // 1_000]
    return np.sqrt(np.mean(piece**2, axis=0))


def test_listing_samples_decodes_nothing() -> None:
    code = (
        "import sys, samples; assert samples.list_samples(); "
        "sys.exit(bool({'pydub', 'av', 'numpy', 'torch'} & set(sys.modules)))"
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


@by_name
def test_a_recording_decodes_to_its_stated_form(sample: Sample) -> None:
    wave, rate = decode(sample.path)
    assert (rate, wave.shape[1]) == (sample.sampling_rate, sample.channels)
    assert abs(len(wave) * 1_000 / rate - sample.duration_ms) < 50
    assert 0.1 < np.abs(wave).max() < 1.0, "loud enough, and not clipped"


@by_name
def test_speech_and_sounds_are_where_the_description_says(sample: Sample) -> None:
    wave, rate = decode(sample.path)
    heard = [*sample.utterances, *sample.sounds]
    for one in heard:
        assert 0 <= one.start_ms < one.end_ms <= sample.duration_ms
        levels = loudness(wave, rate, one.start_ms, one.end_ms)
        assert levels[one.channel or 0] > 0.01
    for one in sample.utterances:
        for start_ms in (one.start_ms, one.end_ms - 100):
            edge = loudness(wave, rate, start_ms, start_ms + 100)
            assert edge[one.channel or 0] > 0.004, f"nobody speaks at {start_ms} ms"
    edges = sorted({0, sample.duration_ms, *(e for one in heard for e in (one.start_ms, one.end_ms))})
    for start, end in pairwise(edges):
        covered = any(one.start_ms < end and one.end_ms > start for one in heard)
        if not covered and end - start > 100:
            assert loudness(wave, rate, start + 30, end - 30).max() < 0.005, f"a sound at {start} ms"


@by_name
def test_the_truth_agrees_with_what_was_spoken(sample: Sample) -> None:
    assert set(sample.truth) == {"transcribe", "caption", "emotion"}
    assert sample.truth["caption"]
    assert bool(sample.utterances) == (sample.language is not None) == (sample.truth["emotion"] is not None)
    space = "" if sample.language == "zh" else " "
    assert (sample.truth["transcribe"] or "") == space.join(one.text for one in sample.utterances)


def test_each_voice_of_the_call_is_alone_on_its_channel() -> None:
    (call,) = [sample for sample in SAMPLES if sample.split]
    wave, rate = decode(call.path)
    assert [one.channel for one in call.utterances[:4]] == [0, 1, 0, 1]
    for one in call.utterances:
        others = [o for o in call.utterances if o.channel != one.channel]
        if all(o.end_ms <= one.start_ms or o.start_ms >= one.end_ms for o in others):
            levels = loudness(wave, rate, one.start_ms, one.end_ms)
            assert levels[1 - (one.channel or 0)] < 0.01 * levels[one.channel or 0]
    overlaps = [b.start_ms < a.end_ms for a, b in pairwise(call.utterances)]
    assert any(overlaps), "once they speak at the same time"


def test_the_bundled_description_is_of_the_scenes_in_the_code() -> None:
    told = {sample.name: (sample.title, [u.text for u in sample.utterances]) for sample in SAMPLES}
    assert told == {
        scene.name: (scene.title, [turn.text for turn in scene.turns if isinstance(turn, Say)])
        for scene in SCENES
    }


@pytest.mark.parametrize("kind", ["rain", "bell", "alarm", "glass"])
def test_a_sound_is_the_same_every_time(kind: str) -> None:
    first, second = synthesise(kind, 0.5, 8_000), synthesise(kind, 0.5, 8_000)
    assert np.array_equal(first, second)
    assert first.shape == (4_000,)
    assert np.abs(first).max() == 1.0


def test_without_espeak_the_maker_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(voices.EspeakMissing, match="install the package espeak-ng"):
        voices.speak(Say(ANNA, "Hello."))


def test_making_writes_recordings_that_match_their_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tone = (8_000 * np.sin(np.arange(11_025) * 0.1)).astype(np.int16)  # half a second
    monkeypatch.setattr(make, "speak", lambda line: tone)
    monkeypatch.setattr(make, "SCENES", (VOICEMAIL, CALL))
    make.main(tmp_path)
    voicemail, call = json.loads((tmp_path / "samples.json").read_text(encoding="utf-8"))
    assert [u["end_ms"] - u["start_ms"] for u in call["utterances"]] == [500] * 11
    assert call["utterances"][0]["start_ms"] == 500
    wave, rate = decode(tmp_path / "audio" / "call.m4a")
    assert loudness(wave, rate, 600, 900)[0] > 0.05 > 0.001 > loudness(wave, rate, 600, 900)[1]
    assert voicemail["sounds"] == [{"kind": "bell", "channel": None, "start_ms": 200, "end_ms": 1_200}]


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.encoding.codec)
def test_the_same_samples_make_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    encoding: Encoding = scene.encoding
    wave = np.random.default_rng(1).integers(-9_000, 9_000, (5_000, encoding.channels), dtype=np.int16)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        encode(wave, encoding, tmp_path / folder / encoding.file)
    one, two = ((tmp_path / folder / encoding.file).read_bytes() for folder in ("one", "two"))
    assert one == two
