"""Make every kind of odd input of the catalogue, and say what each gets: refused, or kept how far."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from support.audio_makers import (
    BAD_AUDIO,
    LIMITED_AUDIO,
    encode,
    film,
    noise,
    pcm,
    several_streams,
    tone,
    wav_bytes,
)


@dataclass(frozen=True)
class OddAudio:
    """A file, and what it gets: a code for what is refused, or how many seconds are kept with which first warning."""

    make: Callable[[Path], object]
    suffix: str = ".wav"
    code: str | None = None  # refused; another try cannot help
    kept_seconds: tuple[float, float] = (0.0, 0.0)  # between
    warning: str | None = None
    partial: bool = False  # the recording counts as incomplete
    max_seconds: float = 3_600.0

    def write(self, folder: Path) -> Path:
        """Write the file and return its path."""
        path = folder / f"odd{self.suffix}"
        self.make(path)
        return path


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def _cut(suffix: str, codec: str, share: float) -> OddAudio:
    def make(path: Path) -> None:
        whole = encode(path, noise(3.0, 44_100), 44_100, codec).read_bytes()
        path.write_bytes(whole[: int(len(whole) * share)])

    return OddAudio(make, suffix, kept_seconds=(1.0, 1.7), warning="truncated", partial=True)


def _rubbish_inside(path: Path) -> None:
    whole = bytearray(encode(path, noise(10.0, 44_100), 44_100, "libmp3lame").read_bytes())
    middle = len(whole) // 2
    whole[middle : middle + 3_000] = np.random.default_rng(0).bytes(3_000)
    path.write_bytes(whole)


def _two_codecs(path: Path) -> None:
    """Let an MP3 go on as FLAC."""
    first = encode(path.with_suffix(".mp3"), tone(3.0, 44_100), 44_100, "libmp3lame").read_bytes()
    path.write_bytes(
        first + encode(path.with_suffix(".flac"), noise(10.0, 44_100), 44_100, "flac").read_bytes()
    )


def _without_first_frame(path: Path) -> None:
    """Take the first frame of an MP3 away, which holds its number of frames."""
    whole = encode(path, tone(3.0, 44_100), 44_100, "libmp3lame").read_bytes()
    head = 10 + int.from_bytes(bytes(whole[6:10]), "big") if whole[:3] == b"ID3" else 0
    path.write_bytes(whole[whole.index(b"\xff\xfb", head + 200) :])


def _boasting_mp3(path: Path) -> None:
    """Claim ten times the frames in the first frame."""
    whole = bytearray(encode(path, tone(3.0, 44_100), 44_100, "libmp3lame").read_bytes())
    place = max(whole.find(b"Xing"), whole.find(b"Info"))
    (frames,) = struct.unpack(">I", whole[place + 8 : place + 12])
    whole[place + 8 : place + 12] = struct.pack(">I", 10 * frames)
    path.write_bytes(whole)


def _renamed_entry(entry: bytes) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        whole = encode(path, tone(1.0, 44_100), 44_100, "aac").read_bytes()
        place = whole.index(b"mp4a", whole.index(b"stsd"))
        path.write_bytes(whole[:place] + entry + whole[place + 4 :])

    return make


def _mostly_numbers(path: Path) -> None:
    wave = tone(2.0)[:, 0]
    wave[4_000:6_000] = np.nan
    wave[8_000:8_003] = [np.inf, -np.inf, 1e30]
    path.write_bytes(wav_bytes(wave.astype("<f4").tobytes(), bits=32, is_float=True))


def _tagged_mp3(path: Path) -> None:
    """Put a tag of 300 kB, such as a cover, in front."""
    whole = encode(path, tone(2.0, 44_100), 44_100, "libmp3lame").read_bytes()
    size = 300_000
    length = bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x04\x00\x00" + length + bytes(size) + whole)


def _flac_without_frames(path: Path) -> None:
    whole = encode(path, noise(2.0), 16_000, "flac").read_bytes()
    path.write_bytes(whole[: 8 + 34])


REFUSED: Mapping[str, OddAudio] = {
    **{name: OddAudio(bad.make, bad.suffix, bad.code) for name, bad in BAD_AUDIO.items()},
    "decompression_bomb": OddAudio(
        LIMITED_AUDIO.make, LIMITED_AUDIO.suffix, LIMITED_AUDIO.code, max_seconds=30.0
    ),
    "one_sample": OddAudio(_bytes(wav_bytes(b"\x01\x00")), code="too_short"),
    "rate_3999": OddAudio(_bytes(wav_bytes(bytes(32_000), 3_999)), code="invalid_sample_rate"),
    "channels_65535": OddAudio(
        _bytes(wav_bytes(bytes(262_140), channels=65_535)), code="unsupported_channel_layout"
    ),
    "gzip": OddAudio(_bytes(gzip.compress(wav_bytes(pcm(tone(1.0))))), ".wav", "unsupported_or_corrupt"),
    "fairplay_m4p": OddAudio(_renamed_entry(b"drms"), ".m4a", "drm_protected"),
    "audible_aax": OddAudio(_renamed_entry(b"aavd"), ".m4a", "drm_protected"),
    "mp4_box_beyond_all_files": OddAudio(
        _bytes(b"\0\0\0\1ftyp" + b"\xff" * 8 + b"isom" * 10), ".mp4", "corrupt_container"
    ),
    "flac_header_only": OddAudio(_flac_without_frames, ".flac", "corrupt_container"),
    "asx": OddAudio(
        _bytes(b'<asx version="3.0"><entry><ref href="http://127.0.0.1:9/a"/></entry></asx>'),
        ".wma",
        "unsupported_format",
    ),
    "smil": OddAudio(
        _bytes(b'<smil><body><audio src="http://127.0.0.1:9/a"/></body></smil>'), code="unsupported_format"
    ),
}

KEPT: Mapping[str, OddAudio] = {
    "cut_wav": OddAudio(
        lambda path: path.write_bytes(wav_bytes(pcm(tone(3.0)))[: 44 + 40_000]),
        kept_seconds=(1.24, 1.26),
        warning="truncated",
        partial=True,
    ),
    "cut_mp3": _cut(".mp3", "libmp3lame", 0.48),
    "cut_flac": _cut(".flac", "flac", 0.48),
    "cut_mkv": _cut(".mkv", "flac", 0.48),
    "rubbish_in_an_mp3": OddAudio(_rubbish_inside, ".mp3", kept_seconds=(9.5, 10.1), warning="decode_errors"),
    "mp3_that_goes_on_as_flac": OddAudio(
        _two_codecs, ".mp3", kept_seconds=(2.9, 3.3), warning="decode_errors"
    ),
    "mp3_without_its_frame_count": OddAudio(_without_first_frame, ".mp3", kept_seconds=(2.8, 3.1)),
    "mp3_that_boasts": OddAudio(
        _boasting_mp3, ".mp3", kept_seconds=(2.9, 3.1), warning="truncated", partial=True
    ),
    "mp3_behind_a_cover": OddAudio(_tagged_mp3, ".mp3", kept_seconds=(1.9, 2.1)),
    "streamed_wav_of_0": OddAudio(
        _bytes(wav_bytes(pcm(tone(3.0)), declared_bytes=0)), kept_seconds=(3.0, 3.0)
    ),
    "streamed_wav_of_all_ones": OddAudio(
        _bytes(wav_bytes(pcm(tone(3.0)), declared_bytes=0xFFFFFFFF)), kept_seconds=(3.0, 3.0)
    ),
    "wav_with_an_odd_byte": OddAudio(_bytes(wav_bytes(pcm(tone(1.0)) + b"\x00")), kept_seconds=(1.0, 1.0)),
    "mp3_that_is_called_wav": OddAudio(
        lambda path: encode(path.with_suffix(".mp3"), tone(1.0, 44_100), 44_100, "libmp3lame").rename(path),
        kept_seconds=(0.9, 1.1),
    ),
    "some_values_no_numbers": OddAudio(
        _mostly_numbers, kept_seconds=(2.0, 2.0), warning="non_finite_samples"
    ),
    "silence": OddAudio(_bytes(wav_bytes(bytes(64_000))), kept_seconds=(2.0, 2.0)),
    "phase_inverted": OddAudio(
        _bytes(wav_bytes(pcm(np.hstack([tone(1.0), -tone(1.0)])), channels=2)),
        kept_seconds=(1.0, 1.0),
        warning="phase_inverted",
    ),
    "film_with_sound": OddAudio(lambda path: film(path, tone(1.0)), ".mp4", kept_seconds=(0.8, 1.2)),
    "several_streams": OddAudio(
        lambda path: several_streams(path, [tone(1.0, hz=300), tone(1.0, hz=2_000)]),
        ".mkv",
        kept_seconds=(0.9, 1.1),
        warning="several_audio_streams",
    ),
}

ODD_AUDIO: Mapping[str, OddAudio] = {**REFUSED, **KEPT}
"""The whole catalogue by name."""
