"""Ingest whole recordings: decode, speech map and sink overlap, in flat memory, with nothing of torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from support.audio_makers import BAD_AUDIO, encode, noise, pcm, tone, wav_bytes

from pipeline.decode import DecodeOptions
from pipeline.errors import DurationLimitExceeded, InvalidAudio
from pipeline.ingest import ingest
from pipeline.timeline import Channels


@pytest.fixture
def ingest_file():
    def run(path, sink=lambda block: None, channels=Channels.MIX, progress=None, **limits):
        with open(path, "rb") as file:
            return ingest(file, sink, DecodeOptions(channels, **limits), progress)

    return run


def test_the_sink_gets_the_whole_timeline_in_order_and_its_hash(ingest_file, tmp_path):
    wave = pcm(noise(70.0))
    (tmp_path / "a.wav").write_bytes(wav_bytes(wave))
    blocks, seconds = [], []
    ingested = ingest_file(tmp_path / "a.wav", blocks.append, progress=seconds.append)
    assert b"".join(blocks) == wave
    assert ingested.timeline.sha256 == hashlib.sha256(wave).hexdigest()
    assert ingested.timeline.samples == 70 * 16_000
    assert seconds == sorted(seconds)
    assert seconds[-1] == 70.0
    assert ingested.chunks[0][-1].owned_end == 70 * 16_000
    assert len(ingested.chunks[0]) == 3
    assert len(ingested.probabilities[0]) == -(-70 * 16_000 // 512)


def test_the_same_bytes_give_the_same_timeline(ingest_file, tmp_path):
    path = encode(tmp_path / "a.mp3", noise(5.0, 44_100, 2), 44_100, "libmp3lame")
    assert ingest_file(path).timeline == ingest_file(path).timeline


def test_split_plans_each_channel_for_itself(ingest_file, tmp_path):
    wave = np.hstack([tone(40.0), np.zeros((40 * 16_000, 1), np.float32)])
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(wave), channels=2))
    ingested = ingest_file(tmp_path / "a.wav", channels=Channels.SPLIT)
    assert ingested.timeline.channel_count == len(ingested.chunks) == len(ingested.probabilities) == 2
    assert [channel[-1].owned_end for channel in ingested.chunks] == [640_000, 640_000]
    assert not np.array_equal(*ingested.probabilities)


def test_what_was_odd_comes_along(ingest_file, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(3.0)))[:40_044])
    ingested = ingest_file(tmp_path / "a.wav")
    assert [str(warning) for warning in ingested.warnings] == ["truncated: declared 3.00 s, decoded 1.25 s"]
    assert ingested.truncated


def test_a_bad_file_after_a_good_one_and_a_good_one_after_it(ingest_file, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(1.0))))
    for name in ("damaged_mp3", "text"):
        with pytest.raises(InvalidAudio):
            ingest_file(BAD_AUDIO[name].write(tmp_path, name))
        assert ingest_file(tmp_path / "a.wav").timeline.samples == 16_000


@pytest.mark.parametrize("seconds", [5.0, 100.0], ids=["at the end", "in the middle"])
def test_what_the_sink_raises_is_passed_on_and_ends_the_work(ingest_file, tmp_path, seconds):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(seconds))))

    done = []

    def full(_block):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        ingest_file(tmp_path / "a.wav", full, progress=done.append)
    assert sum(done[-1:]) < 60
    assert not _lanes_alive()


def test_what_progress_raises_ends_the_work_without_draining_the_queues(ingest_file, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(100.0))))
    stored = []

    def slow(block):
        assert _lanes_alive()
        time.sleep(0.5)
        stored.append(block)

    def lost(seconds):
        if seconds > 30:  # four blocks were given
            raise RuntimeError("the lease is lost")

    with pytest.raises(RuntimeError, match="the lease is lost"):
        ingest_file(tmp_path / "a.wav", slow, progress=lost)
    assert len(stored) < 4
    assert not _lanes_alive()


def _lanes_alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ingest-")]


def test_a_slow_sink_holds_back_the_decoder(ingest_file, tmp_path):
    encode(tmp_path / "a.flac", np.zeros((200 * 16_000, 1), np.float32), 16_000, "flac")
    seconds_when_the_sink_began = []
    done = []

    def sink(_block):
        if not seconds_when_the_sink_began:
            time.sleep(1.0)
            seconds_when_the_sink_began.append(done[-1])

    ingest_file(tmp_path / "a.flac", sink, progress=done.append)
    assert seconds_when_the_sink_began[0] < 60
    assert done[-1] == 200


def test_the_limit_holds_for_ingest(ingest_file, tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(pcm(tone(30.0))))
    with pytest.raises(DurationLimitExceeded):
        ingest_file(tmp_path / "a.wav", max_seconds=20)


def test_ingest_never_imports_torch():
    code = "import sys, pipeline.ingest, pipeline.speech; pipeline.speech.load_speech_model(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()
    assert "onnxruntime" in loaded
    assert not {"torch", "transformers", "silero_vad", "av", "boto3", "sqlalchemy"} & set(loaded)


def test_the_child_imports_nothing_of_weight_but_pyav_and_numpy(monkeypatch, tmp_path):
    code = """
import sys
sys.path.extend(sys.argv[1].split(":"))
import pipeline.decode_child, pipeline.media, pipeline.resampling
print(*{name.partition(".")[0] for name in sys.modules})
"""
    from pipeline.child_start import import_path

    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, ":".join(import_path())],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    ours = set(run.stdout.split()) - sys.stdlib_module_names
    assert ours <= {"__main__", "av", "numpy", "pipeline", "__mp_main__", "cython_runtime"} | {
        name for name in ours if name.startswith("_cython")
    }


def test_a_long_recording_passes_with_flat_memory_and_is_tiled(tmp_path):
    """Twenty minutes are 38 MB of samples, of which none may stay; ``make bench-ingest`` does it with hours."""
    for name, minutes in (("short", 2), ("long", 20)):
        silence = np.zeros((minutes * 60 * 16_000, 1), np.float32)
        encode(tmp_path / f"{name}.flac", silence, 16_000, "flac")
    short, long = _measure(tmp_path / "short.flac"), _measure(tmp_path / "long.flac")
    assert long["samples"] == 20 * 60 * 16_000
    assert long["tiled"]
    assert long["peak_mb"] < 250
    assert long["peak_mb"] - short["peak_mb"] < 12


def _measure(path) -> dict:
    code = """
import json, resource, sys
from pipeline.decode import DecodeOptions
from pipeline.ingest import ingest
with open(sys.argv[1], "rb") as file:
    found = ingest(file, lambda block: None, DecodeOptions())
spans = [(chunk.owned_start, chunk.owned_end) for chunk in found.chunks[0]]
ends = [0, *(end for _, end in spans)]
# Not ru_maxrss: it remembers the process that started this one.
own = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
peak = (own + resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
print(json.dumps({"samples": found.timeline.samples, "peak_mb": peak,
                  "tiled": [start for start, _ in spans] == ends[:-1] and ends[-1] == found.timeline.samples}))
"""
    run = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    return json.loads(run.stdout)
