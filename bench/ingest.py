"""Measure ingest beside its parts: bare FFmpeg decode-and-resample, and the speech model, on the same recording.

``python -m bench.ingest [--hours 3] [--repeats 2]``. Every measurement is a process of its own and times its work
without the interpreter's start; the parts take turns and the best of each counts. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np

from bench.memory import rss_mb
from pipeline.decode import BLOCK_SAMPLES, DecodeOptions
from pipeline.ingest import ingest
from pipeline.speech import SpeechStream, load_speech_model
from pipeline.timeline import SAMPLE_BYTES, SAMPLING_RATE
from storage import FolderStore, folder_uri, join

SOURCE_RATE = 44_100  # Hz
SOURCE_BIT_RATE = 64_000
PIECE_SECONDS = 300  # encoded once, then repeated packet by packet

Measurement = dict[str, Any]


def main() -> None:
    """Make the recording, measure in turns, print a table and the JSON line."""
    arguments = _arguments()
    if arguments.part is not None:
        print(json.dumps(PARTS[arguments.part](arguments.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="earwitness-bench-") as name:
        folder = Path(name)
        make_recording(folder / "recording.mp3", arguments.hours * 3_600)
        # Plan comes first: the speech model alone reads the samples that plan has stored.
        turns = [{part: _measure(part, folder) for part in PARTS} for _ in range(arguments.repeats)]
    _print_result(turns)


def make_recording(path: Path, seconds: float) -> None:
    """Write a mono MP3: a few minutes of buzzing bursts in noise, encoded once and repeated."""
    piece = path.with_name("piece.mp3")
    with av.open(str(piece), "w") as container:
        # Without a bit reservoir a packet can stand beside any other.
        stream = container.add_stream(
            "libmp3lame", rate=SOURCE_RATE, layout="mono", options={"reservoir": "0"}
        )
        stream.bit_rate = SOURCE_BIT_RATE
        frame = av.AudioFrame.from_ndarray(_bursts()[None], format="fltp", layout="mono")
        frame.sample_rate = SOURCE_RATE
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    _repeat(piece, path, seconds)


def plan(folder: Path) -> Measurement:
    """Ingest the recording into a folder store, as a worker does."""
    store, uri = FolderStore([folder]), join(folder_uri(folder), "timeline.pcm")
    began = time.perf_counter()
    with open(folder / "recording.mp3", "rb") as file, store.writer(uri) as writer:
        ingested = ingest(file, writer.write, DecodeOptions())
    seconds = time.perf_counter() - began
    places = [0, *(chunk.owned_end for chunk in ingested.chunks[0])]
    assert [(chunk.owned_start, chunk.owned_end) for chunk in ingested.chunks[0]] == list(pairwise(places))
    assert places[-1] == ingested.timeline.samples == writer.info.size_bytes // SAMPLE_BYTES
    return {
        "seconds": seconds,
        "samples": ingested.timeline.samples,
        "chunks": len(ingested.chunks[0]),
        "peak_mb": _peak_mb(),
    }


def bare_decode(folder: Path) -> Measurement:
    """Decode and resample with PyAV and nothing else; the samples are dropped."""
    began, samples = time.perf_counter(), 0
    with av.open(str(folder / "recording.mp3")) as container:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLING_RATE)
        for frame in container.decode(audio=0):
            samples += sum(resampled.samples for resampled in resampler.resample(frame))
        samples += sum(resampled.samples for resampled in resampler.resample(None))
    return {"seconds": time.perf_counter() - began, "samples": samples}


def speech_model(folder: Path) -> Measurement:
    """Run the speech model alone over the stored samples, in the blocks that ingest uses."""
    stream, samples = SpeechStream(load_speech_model()), 0
    began = time.perf_counter()
    with open(folder / "timeline.pcm", "rb") as file:
        while block := file.read(BLOCK_SAMPLES * SAMPLE_BYTES):
            stream.push(np.frombuffer(block, "<i2"))
            samples += len(block) // SAMPLE_BYTES
    stream.finish()
    return {"seconds": time.perf_counter() - began, "samples": samples}


PARTS: Mapping[str, Callable[[Path], Measurement]] = {
    "plan": plan,
    "bare_decode": bare_decode,
    "speech_model": speech_model,
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--hours", type=float, default=3.0, help="length of the recording (default: 3)")
    parser.add_argument("--repeats", type=int, default=2, help="turns; the best counts (default: 2)")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(part: str, folder: Path) -> Measurement:
    run = subprocess.run(  # noqa: S603 - this very module
        [sys.executable, "-m", "bench.ingest", "--part", part, "--folder", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: Measurement = json.loads(run.stdout)
    print(f"{part:14}{found['seconds']:8.1f} s", flush=True)
    return found


def _print_result(turns: list[dict[str, Measurement]]) -> None:
    best = {part: min(turn[part]["seconds"] for turn in turns) for part in PARTS}
    audio_seconds = turns[0]["plan"]["samples"] / SAMPLING_RATE
    peak_mb = max(turn["plan"]["peak_mb"] for turn in turns)
    print(
        f"\n{'':14}{'seconds':>10}{'x real time':>14}   best of {len(turns)}, {audio_seconds / 3_600:.2f} h of MP3"
    )
    for part, seconds in best.items():
        print(f"{part:14}{seconds:10.1f}{audio_seconds / seconds:14.0f}")
    print(
        f"{turns[0]['plan']['chunks']} chunks tile the timeline; peak memory {peak_mb:.0f} MB with the decode child\n"
    )
    print(
        json.dumps(
            {
                "plan_vs_parts": round(max(best["bare_decode"], best["speech_model"]) / best["plan"], 3),
                "rtfx": round(audio_seconds / best["plan"], 1),
                "peak_mb": round(peak_mb, 1),
            }
        )
    )


def _bursts() -> np.ndarray[Any, np.dtype[np.float32]]:
    times = np.arange(PIECE_SECONDS * SOURCE_RATE) / SOURCE_RATE
    buzz = sum(np.sin(2 * np.pi * 120 * harmonic * times) / harmonic for harmonic in range(1, 8))
    loudness = np.clip(np.sin(2 * np.pi * 0.3 * times) + 0.5, 0, 1) * (1 + np.sin(2 * np.pi * 4 * times)) / 2
    noise = np.random.default_rng(0).normal(0, 0.01, len(times))
    sound: np.ndarray[Any, np.dtype[np.float32]] = (0.2 * buzz * loudness + noise).astype(np.float32)
    return sound


def _repeat(piece: Path, path: Path, seconds: float) -> None:
    """Copy the packets of ``piece`` into ``path`` until it is as long as asked; nothing is encoded again."""
    with av.open(str(path), "w") as target:
        stream, done = None, 0.0
        while done < seconds:
            with av.open(str(piece)) as source:
                stream = stream or target.add_stream_from_template(source.streams.audio[0])
                for packet in source.demux(audio=0):
                    if packet.size == 0 or done >= seconds:
                        continue
                    assert packet.duration is not None
                    assert packet.time_base is not None
                    packet.pts = packet.dts = round(done / packet.time_base)
                    packet.stream = stream
                    done += float(packet.duration * packet.time_base)
                    target.mux(packet)


def _peak_mb() -> float:
    """Return the most memory that this process and its largest child have held, in MB.

    Not ``ru_maxrss`` for this process: that remembers the one which started it.
    """
    return rss_mb("VmHWM") + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


if __name__ == "__main__":
    main()
