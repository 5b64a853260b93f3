"""Turn 16 kHz samples into the log-mel spectrogram that the audio encoder hears, and count what comes out.

The spectrogram is Whisper's over a 30 s window of zeros that starts with the clip, but only the frames that the
clip fills are computed: everything behind them is the constant floor, and the encoder never sees it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from transformers.audio_utils import mel_filter_bank

from qwen_audio.errors import AudioNotFinite, AudioTooLong, AudioTooShort, InvalidAudio

SAMPLING_RATE = 16_000
FFT_SAMPLES = 400  # 25 ms
HOP_SAMPLES = 160  # 10 ms, one mel frame
MEL_BINS = 80
WINDOW_SAMPLES = 30 * SAMPLING_RATE
WINDOW_FRAMES = WINDOW_SAMPLES // HOP_SAMPLES
MIN_SAMPLES = 3 * HOP_SAMPLES  # two convolved frames, which pool to one audio token
DYNAMIC_RANGE = 8.0  # log10 units below the loudest bin

Samples = npt.NDArray[np.int16] | npt.NDArray[np.float32]


def mel_frames(samples: int) -> int:
    """Count the whole 10 ms frames of a clip."""
    return samples // HOP_SAMPLES


def conv_frames(frames: int) -> int:
    """Count what the encoder's strided convolution makes of ``frames`` mel frames."""
    return (frames - 1) // 2 + 1


def audio_tokens(frames: int) -> int:
    """Count the 40 ms audio tokens of ``frames`` mel frames; the span in the prompt has two more rows."""
    return (conv_frames(frames) - 2) // 2 + 1


def to_float(samples: Samples) -> torch.Tensor:
    """Check a clip and scale it to [-1, 1] float32: (samples,) to (samples,).

    int16 is divided by 32,768; float32 is taken as it is. Raises ``AudioTooShort`` below 480 samples,
    ``AudioTooLong`` above 480,000, ``AudioNotFinite``, and ``InvalidAudio`` for another shape or dtype.
    """
    if samples.ndim != 1 or samples.dtype not in (np.int16, np.float32):
        raise InvalidAudio(
            f"need int16 or float32 samples of shape (n,), got {samples.dtype} {samples.shape}"
        )
    if len(samples) < MIN_SAMPLES:
        raise AudioTooShort(f"{len(samples)} samples give no audio token: at least {MIN_SAMPLES} are needed")
    if len(samples) > WINDOW_SAMPLES:
        raise AudioTooLong(f"{len(samples)} samples are more than {WINDOW_SAMPLES}: cut the clip to 30 s")
    if samples.dtype == np.int16:
        return torch.from_numpy(samples.astype(np.float32) / 32_768)
    if not np.isfinite(samples).all():
        raise AudioNotFinite("the clip holds NaN or infinite samples: repair or drop it")
    return torch.from_numpy(np.array(samples, dtype=np.float32))  # a copy: the caller may reuse its buffer


def log_mel(samples: Samples) -> torch.Tensor:
    """Compute a clip's log-mel spectrogram: (samples,) to float32 (80, 2 x convolved frames).

    Equals the frames of ``WhisperFeatureExtractor(feature_size=80)`` on the clip padded to 30 s (Radford et al.,
    2022). Raises what ``to_float`` raises.
    """
    return spectrogram(to_float(samples))


def spectrogram(clip: torch.Tensor) -> torch.Tensor:
    """Compute the same from what ``to_float`` returns, on the device where it lies."""
    kept = 2 * conv_frames(mel_frames(len(clip)))
    power = _power_spectrogram(clip)  # (bins, frames)
    mel = torch.clamp(_mel_filters(clip.device).T @ power, min=1e-10).log10()
    mel = torch.maximum(mel, mel.max() - DYNAMIC_RANGE)
    return ((mel + 4) / 4)[:, :kept].contiguous()


def _power_spectrogram(clip: torch.Tensor) -> torch.Tensor:
    """Transform every frame of the 30 s window that a sample of the clip reaches.

    These are up to two frames more than the clip fills. They count: the loudest bin of the window, which sets the
    floor, may lie in one of them.
    """
    frames = min(WINDOW_FRAMES, mel_frames(len(clip)) + 3)
    half = FFT_SAMPLES // 2
    right = (frames - 1) * HOP_SAMPLES + half - len(clip)  # the last frame's end, seen from the clip's end
    reflected = max(0, len(clip) + right - WINDOW_SAMPLES)  # only the window's own end is mirrored
    padded = torch.nn.functional.pad(clip, (0, max(0, right - reflected)))[None]
    padded = torch.nn.functional.pad(padded, (half, reflected), mode="reflect")[0]
    spectrum = torch.stft(
        padded, FFT_SAMPLES, HOP_SAMPLES, window=_hann(clip.device), center=False, return_complex=True
    )
    # Not ``abs() ** 2``: of complex numbers a GPU would compile a kernel first.
    return torch.view_as_real(spectrum[:, :frames]).square().sum(dim=-1)


@cache
def _hann(device: torch.device) -> torch.Tensor:
    return torch.hann_window(FFT_SAMPLES).to(device)


@cache
def _mel_filters(device: torch.device) -> torch.Tensor:
    """Build the slaney mel filters, (201, 80)."""
    filters = mel_filter_bank(
        1 + FFT_SAMPLES // 2,
        MEL_BINS,
        0.0,
        SAMPLING_RATE / 2,
        SAMPLING_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(filters.astype(np.float32)).to(device)
