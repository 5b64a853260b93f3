"""Make the sample recordings again: ``python -m samples.make [folder]``.

Speech comes from espeak-ng and sounds from numpy; pydub lays them on the tracks of a recording as raw PCM, and PyAV
writes the files, so that no ffmpeg program is needed. The same versions of these make the same bytes.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from numpy.typing import NDArray

from samples.scenes import SCENES, Encoding, Play, Say, Scene
from samples.sounds import synthesise
from samples.voices import VOICE_SAMPLING_RATE, EspeakMissing, speak

if TYPE_CHECKING:
    from pydub import AudioSegment

TAIL_MS = 600  # a recording ends a little after its last sound
FULL_SCALE = 32_767
SPEECH_DBFS = -20.0


@dataclass(frozen=True)
class Placed:
    """A turn and where it lies in its recording."""

    turn: Say | Play
    start_ms: int
    audio: AudioSegment

    @property
    def end_ms(self) -> int:
        """Where the turn ends."""
        return self.start_ms + len(self.audio)


def main(folder: Path) -> None:
    """Write every scene's recording into ``folder/audio`` and what is in them into ``folder/samples.json``."""
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    descriptions = []
    for scene in SCENES:
        placed = list(_place(scene))
        path = folder / "audio" / scene.encoding.file
        encode(_mix(scene, placed), scene.encoding, path)
        descriptions.append(_describe(scene, placed, _duration_ms(path)))
        sys.stdout.write(f"{path}  {path.stat().st_size / 1_000:,.0f} kB\n")
    text = json.dumps(descriptions, ensure_ascii=False, indent=2)
    (folder / "samples.json").write_text(text + "\n", encoding="utf-8")


def _place(scene: Scene) -> Iterator[Placed]:
    """Lay turn after turn, each ``gap_ms`` behind the one before."""
    clock = 0
    for turn in scene.turns:
        placed = Placed(turn, max(0, clock + turn.gap_ms), _perform(turn))
        clock = max(clock, placed.end_ms)
        yield placed


def _perform(turn: Say | Play) -> AudioSegment:
    if isinstance(turn, Say):
        clip = _segment(speak(turn))
        return clip.apply_gain(SPEECH_DBFS - clip.dBFS)
    wave = synthesise(turn.kind, turn.seconds, VOICE_SAMPLING_RATE)
    return _segment(np.round(wave * FULL_SCALE).astype(np.int16)).apply_gain(turn.gain_db)


def _segment(samples: NDArray[np.int16]) -> AudioSegment:
    """Hand ``(samples,)`` to pydub as raw PCM."""
    return _pydub()(
        data=samples.astype("<i2").tobytes(), sample_width=2, frame_rate=VOICE_SAMPLING_RATE, channels=1
    )


def _pydub() -> type[AudioSegment]:
    with warnings.catch_warnings():
        # pydub looks for ffmpeg and old standard modules when it is imported; raw PCM needs none of them.
        warnings.simplefilter("ignore")
        from pydub import AudioSegment
    found: type[AudioSegment] = AudioSegment
    return found


def _mix(scene: Scene, placed: list[Placed]) -> NDArray[np.int16]:
    """Return ``(samples, channels)``: every turn on its channel, or on all of them."""
    length_ms = max(placed[-1].end_ms + TAIL_MS, round(scene.ground.seconds * 1_000) if scene.ground else 0)
    tracks = []
    for channel in range(scene.encoding.channels):
        track = _pydub().silent(length_ms, frame_rate=VOICE_SAMPLING_RATE)
        if scene.ground:
            track = track.overlay(_perform(scene.ground))
        for one in placed:
            if _channel(one.turn) in (None, channel):
                track = track.overlay(one.audio, position=one.start_ms)
        tracks.append(np.frombuffer(track.raw_data, dtype="<i2"))
    return np.stack(tracks, axis=1)


def _channel(turn: Say | Play) -> int | None:
    return turn.speaker.channel if isinstance(turn, Say) else turn.channel


def encode(samples: NDArray[np.int16], encoding: Encoding, path: Path) -> None:
    """Write ``(samples, channels)`` at the voices' rate as a file of the wanted rate and codec."""
    layout = "mono" if encoding.channels == 1 else "stereo"
    # Without bitexact an Ogg stream gets a random serial number, and every making would differ.
    with av.open(str(path), "w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(encoding.codec, rate=encoding.sampling_rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        if encoding.bit_rate is not None:
            stream.bit_rate = encoding.bit_rate
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout=layout
        )
        frame.sample_rate = VOICE_SAMPLING_RATE
        frame.time_base = Fraction(1, VOICE_SAMPLING_RATE)
        frame.pts = 0
        # The encoder takes frames of its own size; without one it takes what comes.
        resampler = av.AudioResampler(
            stream.format.name,
            layout,
            encoding.sampling_rate,
            frame_size=stream.codec_context.frame_size or None,
        )
        for piece in (*resampler.resample(frame), *resampler.resample(None), None):
            container.mux(stream.encode(piece))


def _duration_ms(path: Path) -> int:
    """Return what a decoder gives, which is not always what the encoder got."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        return sum(frame.samples for frame in container.decode(stream)) * 1_000 // stream.rate


def _describe(scene: Scene, placed: list[Placed], duration_ms: int) -> dict[str, Any]:
    said = [(one, one.turn) for one in placed if isinstance(one.turn, Say)]
    played = [(one, one.turn) for one in placed if isinstance(one.turn, Play)]
    sounds = [
        {"kind": turn.kind, "channel": turn.channel, "start_ms": one.start_ms, "end_ms": one.end_ms}
        for one, turn in played
    ]
    if scene.ground:
        sounds.insert(0, {"kind": scene.ground.kind, "channel": None, "start_ms": 0, "end_ms": duration_ms})
    space = "" if scene.language == "zh" else " "
    return {
        "name": scene.name,
        "title": scene.title,
        "file": scene.encoding.file,
        "duration_ms": duration_ms,
        "sampling_rate": scene.encoding.sampling_rate,
        "channels": scene.encoding.channels,
        "split": scene.split,
        "language": scene.language,
        "utterances": [
            {
                "speaker": turn.speaker.name,
                "channel": turn.speaker.channel,
                "start_ms": one.start_ms,
                "end_ms": one.end_ms,
                "text": turn.text,
            }
            for one, turn in said
        ],
        "sounds": sounds,
        "truth": {
            "transcribe": space.join(turn.text for _, turn in said) or None,
            "caption": scene.caption,
            "emotion": scene.emotion,
        },
    }


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
    except EspeakMissing as missing:
        sys.exit(str(missing))
