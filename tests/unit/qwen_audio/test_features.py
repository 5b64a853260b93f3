import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import WhisperFeatureExtractor

from qwen_audio.errors import AudioNotFinite, AudioTooLong, AudioTooShort, InvalidAudio
from qwen_audio.features import WINDOW_SAMPLES, audio_tokens, conv_frames, log_mel, mel_frames, to_float


@pytest.mark.parametrize("name", ["short", "odd", "exact30"])
def test_the_spectrogram_equals_the_official_figures(case, name):
    case = case(name)
    torch.testing.assert_close(
        case.inputs["input_features"], torch.from_numpy(case.figures["mel"]), atol=1e-4, rtol=0
    )


def _whisper(samples):
    """The same spectrogram from transformers, over the whole window."""
    extractor = WhisperFeatureExtractor(feature_size=80)
    return extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features[0]


@pytest.mark.parametrize("length", [480, 481, 16_159, 47_999, 479_200, 479_601, 479_999, 480_000])
def test_the_spectrogram_equals_whispers_at_every_kind_of_end(length):
    samples = np.random.default_rng(length).normal(0, 0.1, length).astype(np.float32)
    ours = log_mel(samples)
    assert ours.shape == (80, 2 * conv_frames(mel_frames(length)))
    torch.testing.assert_close(ours, _whisper(samples)[:, : ours.shape[1]], atol=1e-4, rtol=0)


def test_a_click_behind_the_last_whole_frame_still_sets_the_floor():
    samples = np.random.default_rng(0).normal(0, 1e-5, 16_159).astype(np.float32)
    samples[-1] = 1.0
    ours = log_mel(samples)
    torch.testing.assert_close(ours, _whisper(samples)[:, : ours.shape[1]], atol=1e-4, rtol=0)


def test_a_short_clip_costs_only_its_own_frames():
    assert log_mel(np.zeros(16_000, np.int16)).shape == (80, 100)


@settings(max_examples=20)
@given(st.integers(480, 4_000))
def test_int16_is_the_same_as_float32_divided_by_32768(length):
    samples = np.random.default_rng(length).integers(-32_768, 32_767, length, dtype=np.int16)
    assert torch.equal(log_mel(samples), log_mel(samples.astype(np.float32) / 32_768))


@pytest.mark.parametrize(
    ("samples", "frames", "convolved", "tokens"),
    [
        (480, 3, 2, 1),
        (16_080, 100, 50, 25),
        (51_472, 321, 161, 80),
        (93_680, 585, 293, 146),
        (480_000, 3000, 1500, 750),
    ],
)
def test_lengths_follow_the_official_formulas(samples, frames, convolved, tokens):
    assert mel_frames(samples) == frames
    assert conv_frames(frames) == convolved
    assert audio_tokens(frames) == tokens


@pytest.mark.parametrize("length", [0, 1, 320, 479])
def test_a_clip_without_a_single_audio_token_is_refused(length):
    with pytest.raises(AudioTooShort, match="480"):
        log_mel(np.zeros(length, np.int16))


def test_a_clip_beyond_30_seconds_is_refused_and_not_cut():
    with pytest.raises(AudioTooLong, match="480001"):
        log_mel(np.zeros(WINDOW_SAMPLES + 1, np.int16))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_sample_that_is_not_finite_is_refused(bad):
    samples = np.zeros(16_000, np.float32)
    samples[7_000] = bad
    with pytest.raises(AudioNotFinite):
        log_mel(samples)


@pytest.mark.parametrize("samples", [np.zeros((2, 16_000), np.int16), np.zeros(16_000, np.float64)])
def test_another_shape_or_dtype_is_refused(samples):
    with pytest.raises(InvalidAudio, match=str(samples.dtype)):
        log_mel(samples)


def test_the_caller_may_reuse_its_buffer():
    samples = np.zeros(16_000, np.float32)
    held = to_float(samples)
    samples[:] = 1.0
    assert held.abs().max() == 0
