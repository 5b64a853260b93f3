"""Make recordings by code: good ones in every accepted format, and one of each kind that is refused."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]  # (samples, channels), full scale is 1


def tone(
    seconds: float, sampling_rate: int = 16_000, hz: float = 440.0, channels: int = 1, level: float = 0.3
) -> Wave:
    """Return a sine on every channel."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    return np.repeat((level * np.sin(2 * np.pi * hz * times)).astype(np.float32)[:, None], channels, axis=1)


def noise(
    seconds: float, sampling_rate: int = 16_000, channels: int = 1, level: float = 0.1, seed: int = 0
) -> Wave:
    """Return white noise, different on each channel."""
    shape = (round(seconds * sampling_rate), channels)
    return (level * np.random.default_rng(seed).standard_normal(shape)).clip(-1, 1).astype(np.float32)


def voice(seconds: float, sampling_rate: int = 16_000, seed: int = 0) -> Wave:
    """Return a buzz through wandering formants, with pauses: no words, and a speech model takes it for a voice."""
    times = np.arange(round(seconds * sampling_rate)) / sampling_rate
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * times) + 10 * np.sin(2 * np.pi * 5 * times)  # Hz
    phase = 2 * np.pi * np.cumsum(pitch) / sampling_rate
    vowels = np.array([(700, 1_200, 2_600), (300, 2_200, 3_000), (400, 800, 2_500), (500, 1_800, 2_500)])
    spoken = (3 * times).astype(int) % len(vowels)  # three vowels a second
    sound = np.zeros(len(times))
    for harmonic in range(1, 30):
        distance = (120 * harmonic - vowels) / (90 + 0.05 * vowels)
        loudness = (np.exp(-(distance**2)).sum(axis=1) + 0.02) / np.sqrt(harmonic)
        sound += loudness[spoken] * np.sin(harmonic * phase)
    sound *= (np.sin(2 * np.pi * 0.3 * times) > -0.4) * (0.15 + np.abs(np.sin(2 * np.pi * 1.5 * times)))
    sound += np.random.default_rng(seed).normal(0, 0.003, len(times))
    return (0.4 * sound / np.abs(sound).max()).astype(np.float32)[:, None]


def wav_bytes(
    data: bytes,
    sampling_rate: int = 16_000,
    channels: int = 1,
    *,
    bits: int = 16,
    is_float: bool = False,
    declared_bytes: int | None = None,
) -> bytes:
    """Return a WAV file around raw PCM; any lie about its size is told as asked."""
    size = len(data) if declared_bytes is None else declared_bytes
    frame_bytes = channels * bits // 8
    return b"".join(
        [
            b"RIFF",
            struct.pack("<I", min(size + 36, 0xFFFFFFFF)),
            b"WAVEfmt ",
            struct.pack(
                "<IHHIIHH",
                16,
                3 if is_float else 1,
                channels,
                sampling_rate,
                sampling_rate * frame_bytes % 2**32,
                frame_bytes % 2**16,
                bits,
            ),
            b"data",
            struct.pack("<I", size),
            data,
        ]
    )


def pcm(wave: Wave) -> bytes:
    """Return interleaved int16 little-endian samples."""
    return np.rint(wave * 32_767).astype("<i2").tobytes()


def _in_place(sample: int) -> int:
    return sample


def encode(
    path: Path,
    wave: Wave,
    sampling_rate: int,
    codec: str,
    moved: Callable[[int], int] = _in_place,
    **options: str,
) -> Path:
    """Encode ``wave`` into the container that the suffix of ``path`` names, each frame stamped as ``moved`` says."""
    layout = {1: "mono", 2: "stereo", 3: "2.1", 6: "5.1"}[wave.shape[1]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=sampling_rate, layout=layout, options=options)
        if codec == "wmav2":  # has no default
            stream.bit_rate = 128_000
        _encode(container, stream, wave, sampling_rate, layout, moved)
    return path


def film(
    path: Path,
    wave: Wave | None,
    sampling_rate: int = 16_000,
    frames: int = 25,
    moved: Callable[[int], int] = _in_place,
) -> Path:
    """Encode a tiny MPEG-4 film of one second, with sound unless ``wave`` is None."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=32, height=32, pix_fmt="yuv420p")
        sound = None if wave is None else container.add_stream("aac", rate=sampling_rate, layout="mono")
        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(
                np.full((32, 32, 3), number * 10 % 256, np.uint8), format="rgb24"
            )
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None and wave is not None:
            _encode(container, sound, wave, sampling_rate, "mono", moved)
    return path


def several_streams(path: Path, waves: list[Wave], sampling_rate: int = 16_000) -> Path:
    """Encode a Matroska file with one FLAC stream per wave."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("flac", rate=sampling_rate, layout="mono") for _ in waves]
        for stream, wave in zip(streams, waves, strict=True):
            _encode(container, stream, wave, sampling_rate, "mono")
    return path


def _encode(
    container,
    stream,
    wave: Wave,
    sampling_rate: int,
    layout: str,
    moved: Callable[[int], int] = _in_place,
) -> None:
    fifo = av.AudioFifo()
    resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=sampling_rate)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.reshape(1, -1)), format="flt", layout=layout)
    frame.sample_rate = sampling_rate
    for ready in resampler.resample(frame):
        ready.pts = None
        fifo.write(ready)
    size = stream.codec_context.frame_size or 4_096
    position = 0
    while (piece := fifo.read(size, partial=True)) is not None:
        piece.pts = moved(position)
        position += piece.samples
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


@dataclass(frozen=True)
class BadAudio:
    """A file that is refused: how to make it, and the code that it gets."""

    make: Callable[[Path], object]
    code: str
    suffix: str = ".wav"

    def write(self, folder: Path, name: str) -> Path:
        """Write the file into ``folder`` and return its path."""
        path = folder / (name + self.suffix)
        self.make(path)
        return path


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _floats(values: NDArray[np.float32]) -> Callable[[Path], object]:
    return _bytes(wav_bytes(values.astype("<f4").tobytes(), bits=32, is_float=True))


def _m4a(path: Path) -> bytes:
    return encode(path, tone(1.0, 44_100), 44_100, "aac").read_bytes()


def _cut_m4a(path: Path) -> None:
    whole = _m4a(path)  # its index comes last
    path.write_bytes(whole[: len(whole) // 2])


def _encrypted_m4a(path: Path) -> None:
    whole = _m4a(path)
    entry = whole.index(b"mp4a", whole.index(b"stsd"))
    path.write_bytes(whole[:entry] + b"enca" + whole[entry + 4 :])


def _damaged_mp3(path: Path) -> None:
    """Spoil most frames and keep the header, which tells the whole length."""
    whole = bytearray(encode(path, noise(10.0, 44_100), 44_100, "libmp3lame").read_bytes())
    rubbish = np.random.default_rng(0).bytes(len(whole))
    for start in range(len(whole) // 5, len(whole), 1_000):
        whole[start : start + 900] = rubbish[start : start + 900]
    path.write_bytes(whole)


def _endless_silence(path: Path) -> None:
    """Ten minutes in a few kilobytes."""
    encode(path, np.zeros((600 * 16_000, 1), np.float32), 16_000, "flac")


_PLAYLISTS = {
    "m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "ffconcat": b"ffconcat version 1.0\nfile sibling.wav\n",
    "sdp": b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n",
    "mpd": b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
    "pls": b"[playlist]\nFile1=http://127.0.0.1:9/a.mp3\n",
}

BAD_AUDIO: Mapping[str, BadAudio] = {
    "empty": BadAudio(_bytes(b""), "empty_file"),
    "text": BadAudio(_bytes(b"Dear listener, this is a letter.\n" * 90), "unsupported_or_corrupt", ".mp3"),
    "html": BadAudio(
        _bytes(b"<!doctype html><html><body>404 Not Found</body></html>" * 9),
        "unsupported_or_corrupt",
        ".mp3",
    ),
    "random": BadAudio(_bytes(np.random.default_rng(1).bytes(50_000)), "unsupported_or_corrupt", ".mp3"),
    "cut_m4a": BadAudio(_cut_m4a, "corrupt_container", ".m4a"),
    "encrypted_m4a": BadAudio(_encrypted_m4a, "drm_protected", ".m4a"),
    "damaged_mp3": BadAudio(_damaged_mp3, "corrupt_audio", ".mp3"),
    "header_only": BadAudio(_bytes(wav_bytes(b"")), "no_audio_samples"),
    "silent_film": BadAudio(lambda path: film(path, None), "no_audio_stream", ".mp4"),
    "rate_0": BadAudio(_bytes(wav_bytes(bytes(32_000), 0)), "invalid_sample_rate"),
    "rate_1": BadAudio(_bytes(wav_bytes(bytes(96_000), 1)), "invalid_sample_rate"),
    "rate_768000": BadAudio(_bytes(wav_bytes(bytes(768_000), 768_000)), "invalid_sample_rate"),
    "rate_all_ones": BadAudio(_bytes(wav_bytes(bytes(32_000), 2**32 - 1)), "invalid_sample_rate"),
    "channels_0": BadAudio(_bytes(wav_bytes(bytes(32_000), channels=0)), "unsupported_channel_layout"),
    "channels_16": BadAudio(_bytes(wav_bytes(bytes(320_000), channels=16)), "unsupported_channel_layout"),
    "channels_1024": BadAudio(
        _bytes(wav_bytes(bytes(2_048_000), channels=1_024)), "unsupported_channel_layout"
    ),
    "all_nan": BadAudio(_floats(np.full(16_000, np.nan, np.float32)), "invalid_samples"),
    "all_infinite": BadAudio(_floats(np.full(16_000, np.inf, np.float32)), "invalid_samples"),
    "too_short": BadAudio(_bytes(wav_bytes(pcm(tone(0.05)))), "too_short"),
    "unknown_codec": BadAudio(
        lambda path: encode(path, tone(1.0, 48_000), 48_000, "tta"), "unsupported_format", ".mkv"
    ),
    "other_container": BadAudio(
        lambda path: encode(path, tone(1.0, 48_000), 48_000, "mp2"), "unsupported_format", ".ts"
    ),
    **{name: BadAudio(_bytes(content), "unsupported_format", ".mp3") for name, content in _PLAYLISTS.items()},
    "playlist_with_bom": BadAudio(_bytes(b"\xef\xbb\xbf\n" + _PLAYLISTS["m3u8"]), "unsupported_format"),
}
"""Every kind of file that is refused whatever the options, by name."""

LIMITED_AUDIO = BadAudio(_endless_silence, "duration_limit_exceeded", ".flac")
"""Ten minutes of silence in a few kilobytes, for a shorter limit."""
