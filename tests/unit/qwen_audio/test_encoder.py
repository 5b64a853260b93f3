import numpy as np
import pytest
import torch

from qwen_audio.errors import InvalidAudio
from qwen_audio.features import log_mel, mel_frames

CLIPS = ("tiny_480.wav", "syn_30s.wav", "tiny_640.wav", "syn_1s005.wav", "syn_3s217.wav", "syn_8s.wav")


def _batch(clips):
    features = [log_mel(samples) for samples in clips]
    longest = max(mel.shape[1] for mel in features)
    # Noise behind each clip: what stands there must not be heard.
    batch = torch.full((len(clips), 80, longest), 0.7)
    for place, mel in enumerate(features):
        batch[place, :, : mel.shape[1]] = mel
    return batch, torch.tensor([mel_frames(len(samples)) for samples in clips])


@pytest.mark.parametrize(
    ("names", "attention"),
    [(CLIPS, "sdpa"), (CLIPS[::-1], "sdpa"), (CLIPS[3:5], "sdpa"), (CLIPS[:2], "eager")],
    ids=["all", "reversed", "near", "extremes"],
)
def test_a_clip_is_encoded_the_same_in_every_company(golden_model, clip, names, attention):
    clips = [clip(name) for name in names]
    with torch.inference_mode():
        alone = [golden_model.encode_audio(*_batch([samples]))[0] for samples in clips]
        golden_model.set_attn_implementation(attention)
        try:
            together = golden_model.encode_audio(*_batch(clips))
        finally:
            golden_model.set_attn_implementation("sdpa")
    for one, among in zip(alone, together, strict=True):
        torch.testing.assert_close(among, one, atol=1e-4, rtol=0)


def test_the_span_has_the_official_number_of_rows(golden_model, clip):
    with torch.inference_mode():
        spans = golden_model.encode_audio(*_batch([clip("tiny_480.wav"), clip("syn_30s.wav")]))
    assert [len(span) for span in spans] == [3, 752]


def test_a_clip_too_short_for_a_token_is_refused(golden_model):
    with pytest.raises(InvalidAudio):
        golden_model.encode_audio(torch.zeros(1, 80, 2), torch.tensor([2]))


def test_a_clip_beyond_the_positions_is_refused(golden_model):
    with pytest.raises(InvalidAudio, match="1500"):
        golden_model.encode_audio(torch.zeros(1, 80, 3002), torch.tensor([3001]))


def test_fewer_frames_than_the_clip_needs_are_refused(golden_model):
    with pytest.raises(InvalidAudio, match="100 needed"):
        golden_model.encode_audio(torch.zeros(1, 80, 90), torch.tensor([100]))


def test_silence_encodes_to_finite_numbers(golden_model):
    with torch.inference_mode():
        (span,) = golden_model.encode_audio(*_batch([np.zeros(16_000, np.int16)]))
    assert span.isfinite().all()
