"""Run the speech model over a stream: equal to its step model, however the stream is cut."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.audio_makers import voice

from pipeline.errors import SpeechModelMissing
from pipeline.speech import SpeechStream, find_model_file, load_speech_model
from pipeline.speech_spans import speech_spans, window_count
from pipeline.timeline import to_float

SPOKEN = Path(__file__).resolve().parents[4] / "shared" / "audio" / "1272-128104-0000.flac"


def vowels(seconds: float, seed: int = 0) -> np.ndarray:
    return np.rint(voice(seconds, seed=seed)[:, 0] * 32_767).astype(np.int16)


def step_by_step(samples: np.ndarray) -> np.ndarray:
    """What the documented step model says, one window per call."""
    file = next(f for f in importlib.metadata.files("silero-vad") if f.name == "silero_vad.onnx")
    session = onnxruntime.InferenceSession(str(file.locate()), providers=["CPUExecutionProvider"])
    padded = np.pad(to_float(samples), (64, -len(samples) % 512))
    state, found = np.zeros((2, 1, 128), np.float32), []
    for start in range(0, len(padded) - 64, 512):
        window = padded[None, start : start + 576]
        output, state = session.run(None, {"input": window, "state": state, "sr": np.array(16_000, np.int64)})
        found.append(output[0, 0])
    return np.array(found)


def in_pieces(samples: np.ndarray, sizes) -> np.ndarray:
    stream = SpeechStream(load_speech_model())
    cuts = np.cumsum(sizes)
    return np.concatenate([*(stream.push(piece) for piece in np.split(samples, cuts)), stream.finish()])


def test_the_sequence_model_equals_the_step_model():
    samples = vowels(20.1)
    expected = step_by_step(samples)
    assert expected.max() > 0.5 > expected.min()  # the sound moves the model, so that equality says something
    np.testing.assert_allclose(in_pieces(samples, [131_072]), expected, atol=1e-6, rtol=0)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 5_000), max_size=8))
def test_pieces_of_any_size_give_the_same(sizes):
    samples = vowels(1.5)
    whole = in_pieces(samples, [])
    assert len(whole) == window_count(len(samples))
    np.testing.assert_allclose(in_pieces(samples, sizes), whole, atol=1e-6, rtol=0)


def test_streams_that_share_the_model_do_not_mix():
    one, other = vowels(2.0), vowels(2.0, seed=1)[::-1]
    streams = [SpeechStream(load_speech_model()) for _ in range(2)]
    found = [[], []]
    for start in range(0, 32_000, 8_000):
        for place, samples in enumerate((one, other)):
            found[place].append(streams[place].push(samples[start : start + 8_000]))
    np.testing.assert_allclose(
        np.concatenate([*found[0], streams[0].finish()]), in_pieces(one, []), atol=1e-6, rtol=0
    )


@pytest.mark.skipif(not SPOKEN.exists(), reason="the shared recordings are not here")
def test_spoken_words_are_speech_and_the_silence_around_them_is_not(decode_here):
    _, samples = decode_here(SPOKEN)
    silence = np.zeros(32_000, np.int16)
    padded = np.concatenate([silence, samples[:, 0], silence])
    spans = speech_spans(in_pieces(padded, []), len(padded))
    assert abs(spans[0][0] - 32_000) < 9_600
    assert abs(spans[-1][1] - (len(padded) - 32_000)) < 9_600
    assert sum(end - start for start, end in spans) > 0.7 * len(samples)


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    def absent(_name):
        raise importlib.metadata.PackageNotFoundError

    for files in (absent, lambda _name: None):
        monkeypatch.setattr(importlib.metadata, "files", files)
        with pytest.raises(SpeechModelMissing, match="pip install") as raised:
            find_model_file()
        assert raised.value.code == "speech_model_missing"
