"""Refuse what is no recording, each kind with its stable code, and survive a child that turns against us."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from support.audio_makers import BAD_AUDIO, LIMITED_AUDIO, encode, noise, pcm, tone, wav_bytes

import pipeline.decode
import pipeline.media
from pipeline.decode import DecodeOptions, decode
from pipeline.decode_child import run
from pipeline.errors import (
    AudioError,
    DecodeCrashed,
    DecodeTimeout,
    DurationLimitExceeded,
    InvalidAudio,
    UnsupportedFormat,
)
from pipeline.media import open_audio


@pytest.mark.parametrize("name", ["rate_1", "rate_768000", "channels_16", "channels_1024", "unknown_codec"])
def test_what_the_header_rules_out_is_refused_before_a_decoder_runs(tmp_path, name):
    with open(BAD_AUDIO[name].write(tmp_path, name), "rb") as file, pytest.raises(InvalidAudio) as raised:
        open_audio(file)
    assert raised.value.code == BAD_AUDIO[name].code


@pytest.mark.parametrize("name", ["empty", "header_only", "rate_1", "damaged_mp3", "all_nan", "ffconcat"])
def test_the_code_comes_through_the_child(decode_file, tmp_path, name):
    path = BAD_AUDIO[name].write(tmp_path, name)
    with pytest.raises(InvalidAudio) as raised:
        decode_file(path)
    assert raised.value.code == BAD_AUDIO[name].code
    assert not raised.value.retryable
    assert str(tmp_path) not in str(raised.value)


def test_a_playlist_that_hides_its_kind_is_stopped_by_the_list_of_formats(decode_here, tmp_path, monkeypatch):
    (tmp_path / "sibling.wav").write_bytes(wav_bytes(pcm(tone(1.0))))
    monkeypatch.setattr(pipeline.media, "refuse_what_is_no_recording", lambda head: None)
    for name in ("ffconcat", "sdp"):
        with pytest.raises(UnsupportedFormat):
            decode_here(BAD_AUDIO[name].write(tmp_path, "list"))


def test_a_bomb_is_stopped_at_the_limit_and_not_at_its_end(decode_file, tmp_path):
    path = LIMITED_AUDIO.write(tmp_path, "bomb")
    assert path.stat().st_size < 200_000
    with pytest.raises(DurationLimitExceeded, match="longer than the allowed 30 s") as raised:
        decode_file(path, max_seconds=30)
    assert raised.value.code == "duration_limit_exceeded"
    assert decode_file(path, max_seconds=600)[0].samples == 600 * 16_000


def test_the_child_itself_stops_at_the_limit(tmp_path):
    samples = 0

    def write(block):
        nonlocal samples
        samples += len(block)

    with open(LIMITED_AUDIO.write(tmp_path, "bomb"), "rb", buffering=0) as file:
        run(file, "mix", 30 * 16_000, write=write, tell=lambda line: None, confined={})
    assert 30 * 16_000 < samples < 35 * 16_000


def test_every_leaf_has_a_code_of_its_own():
    def leaves(kind):
        return [
            leaf
            for below in kind.__subclasses__()
            for leaf in ([below] if not below.__subclasses__() else leaves(below))
        ]

    codes = [leaf.code for leaf in leaves(AudioError)]
    assert len(codes) == len(set(codes)) == 16
    assert [leaf.code for leaf in leaves(AudioError) if leaf.retryable] == [
        "decode_timeout",
        "decode_crashed",
    ]


# What follows puts another script in the child's place, as a decoder would be that was taken over.


@pytest.fixture
def hostile(monkeypatch, tmp_path):
    """(body of a script, limits) -> what decoding with it yields; ``order``, ``tell`` and ``confine`` are at hand."""
    recording = tmp_path / "a.wav"
    recording.write_bytes(wav_bytes(pcm(tone(1.0))))

    def run(body, read=lambda decoding: b"".join(decoding.blocks()), **limits):
        script = tmp_path / "hostile.py"
        script.write_text(
            textwrap.dedent("""
                import json, os, signal, socket, sys, time
                order = json.loads(sys.argv[1])
                sys.path.extend(order["path"])
                from pipeline.sandbox import confine
                def tell(line):
                    text = line if isinstance(line, str) else json.dumps(line)
                    os.write(order["report_fd"], text.encode() + b"\\n")
                media = dict(container="wav", codec="pcm", sampling_rate=16000, channels=1, declared_seconds=None,
                             audio_streams=1, audio_stream=0)
                first = {"media": media, "timeline_channels": 1, "confined": {}}
            """)
            + textwrap.dedent(body)
        )
        monkeypatch.setattr(pipeline.decode, "_SCRIPT", script)
        with open(recording, "rb") as file, decode(file, DecodeOptions(**limits)) as decoding:
            return read(decoding)

    return run


def test_a_child_that_hangs_is_stopped(hostile):
    began = time.monotonic()
    with pytest.raises(DecodeTimeout) as raised:
        hostile("time.sleep(60)", stall_seconds=0.3)
    assert (raised.value.code, raised.value.retryable) == ("decode_timeout", True)
    assert time.monotonic() - began < 5


def test_a_child_that_trickles_is_stopped_by_the_time_we_wait_in_all(hostile):
    with pytest.raises(DecodeTimeout):
        hostile("while True: time.sleep(0.05); print('.', file=sys.stderr, flush=True)", wait_seconds=0.5)


def test_a_child_that_computes_for_ever_runs_out_of_cpu_time(hostile):
    with pytest.raises(DecodeTimeout, match="1 s of CPU time"):
        hostile("confine(1 << 30, 1)\nwhile True: pass", cpu_seconds=1)


def test_a_crash_is_retryable_and_its_last_words_stay_inside(hostile):
    with pytest.raises(DecodeCrashed, match="by signal 11") as raised:
        hostile("print('/secret/path', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.SIGSEGV)")
    assert (raised.value.code, raised.value.retryable) == ("decode_crashed", True)
    assert raised.value.last_words == "/secret/path\n"
    assert "secret" not in str(raised.value)


def test_last_words_are_short(hostile):
    with pytest.raises(DecodeCrashed) as raised:
        hostile("os.write(2, b'x' * 50_000); sys.exit(1)")
    assert raised.value.last_words == "x" * 4_096


def test_a_child_that_ends_early_is_a_crash(hostile):
    for body in ("", "tell(first)", "tell(first); os.write(1, bytes(32000))", "tell(first); sys.exit(3)"):
        with pytest.raises(DecodeCrashed):
            hostile(body)


def test_a_child_that_fails_after_its_report_is_a_crash(hostile):
    report = "tell(first); os.write(1, bytes(32000)); tell({'end': {'samples': 16000}})"
    assert len(hostile(report)) == 32_000
    with pytest.raises(DecodeCrashed, match="with status 3"):
        hostile(f"{report}; sys.exit(3)")


def test_memory_beyond_the_limit_is_a_crash(hostile):
    with pytest.raises(DecodeCrashed, match="with status 1") as raised:
        hostile("confine(order['memory_bytes'], 10)\nbytearray(1 << 30)", memory_bytes=512 << 20)
    assert "MemoryError" in raised.value.last_words


def test_endless_samples_end_at_the_limit(hostile):
    with pytest.raises(DurationLimitExceeded):
        hostile("tell(first)\nwhile True: os.write(1, bytes(65536))", max_seconds=60)


def test_a_flood_of_words_is_dropped_and_blocks_nothing(hostile):
    end = "tell({'end': {'samples': 16000}})"
    pcm_bytes = hostile(
        f"tell(first); os.write(2, bytes(3_000_000)); os.write(1, bytes(32000)); os.write(2, b'x' * 3_000_000); {end}"
    )
    assert len(pcm_bytes) == 32_000


@pytest.mark.parametrize(
    "line",
    ["'nonsense'", "'[1]'", "'{}'", "{'media': {}}", "{**first, 'timeline_channels': 7}",
     "{'error': {'code': 'no_such_code', 'message': ''}}", "{'error': 1}", "'x' * 1_000_000"],
)  # fmt: skip
def test_a_report_that_is_none_counts_as_a_crash(hostile, line):
    with pytest.raises(DecodeCrashed):
        hostile(f"tell({line})")


def test_a_report_that_lies_about_the_samples_counts_as_a_crash(hostile):
    with pytest.raises(DecodeCrashed, match="reported 7 samples"):
        hostile("tell(first); os.write(1, bytes(32000)); tell({'end': {'samples': 7}})")


def test_the_child_sees_no_environment_and_no_file_but_its_own(hostile, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    pipe = os.pipe()
    os.set_inheritable(pipe[0], True)
    seen = hostile(
        """
        files = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if
                 os.path.exists(f"/proc/self/fd/{fd}")]
        kinds = sorted(os.path.basename(file.split(":")[0]) for file in files)
        tell({**first, "confined": {"environment": sorted(os.environ), "files": kinds, "cwd": os.getcwd(),
                                    "leader": os.getsid(0) == os.getpid(), "argv": sys.argv[1]}})
        """,
        read=lambda decoding: decoding.confined,
    )
    for end in pipe:
        os.close(end)
    assert "AWS_SECRET_ACCESS_KEY" not in seen["environment"]
    assert set(seen["environment"]) <= {"OPENBLAS_NUM_THREADS", "LC_CTYPE"}
    assert seen["files"] == ["a.wav", "null", "pipe", "pipe", "pipe"]
    assert (seen["cwd"], seen["leader"]) == ("/", True)
    assert "a.wav" not in seen["argv"]


def test_the_child_has_no_network_where_the_platform_takes_it_away(hostile):
    with socket.create_server(("127.0.0.1", 0)) as server:
        confined = hostile(
            f"""
            confined = confine(1 << 30, 10)
            try:
                socket.create_connection(("127.0.0.1", {server.getsockname()[1]}), 2).close()
                confined["reached"] = True
            except OSError:
                confined["reached"] = False
            tell({{**first, "confined": confined}})
            """,
            read=lambda decoding: decoding.confined,
        )
    if not confined["network_removed"]:
        pytest.skip("this platform gives no network namespace to an ordinary process")
    assert not confined["reached"]


def test_the_child_cannot_write_a_file(hostile, tmp_path):
    with pytest.raises(DecodeCrashed):
        hostile(f"confine(1 << 30, 10); open({str(tmp_path / 'new')!r}, 'w').write('x')")
    assert not (tmp_path / "new").exists() or (tmp_path / "new").stat().st_size == 0


def test_the_child_and_what_it_started_are_gone_when_the_caller_stops_early(hostile):
    def pids(decoding):
        return [decoding.confined["child"], decoding.confined["grandchild"]]

    began = hostile(
        """
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(60)
        tell({**first, "confined": {"child": os.getpid(), "grandchild": grandchild}})
        time.sleep(60)
        """,
        read=pids,
    )
    deadline = time.monotonic() + 5
    while any(_lives(pid) for pid in began) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(_lives(pid) for pid in began)


def test_what_a_child_leaves_behind_is_gone_though_it_ended_well_itself(hostile):
    """The grandchild has let go of the pipes, so that only its group tells of it."""
    kept = []
    began = hostile(
        """
        grandchild = os.fork()
        if grandchild == 0:
            for fd in range(64):
                try:
                    os.close(fd)
                except OSError:
                    pass
            time.sleep(60)
        tell({**first, "confined": {"grandchild": grandchild}})
        os.write(1, bytes(32000))
        tell({'end': {'samples': 16000}})
        os._exit(0)
        """,
        read=lambda decoding: kept.extend(decoding.blocks()) or decoding.confined["grandchild"],
    )
    assert len(b"".join(kept)) == 32_000
    deadline = time.monotonic() + 5
    while _lives(began) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _lives(began)


def test_a_confined_process_can_start_no_process_and_no_thread():
    as_nobody = ["setpriv", "--ruid", "65534", "--bounding-set=-sys_resource,-sys_admin"]
    if os.getuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("the kernel exempts root, and there is no setpriv to be somebody else")
    body = """
        import os, sys, threading
        sys.path.insert(0, sys.argv[1])
        from pipeline.sandbox import confine
        confine(1 << 30, 10)
        for start in (os.fork, threading.Thread(target=print).start):
            try:
                start()
            except (OSError, RuntimeError):
                print("refused", flush=True)
    """
    command = [sys.executable, "-c", textwrap.dedent(body), str(Path(pipeline.media.__file__).parents[1])]
    ended = subprocess.run(
        [*(as_nobody if os.getuid() == 0 else []), *command], capture_output=True, text=True, timeout=60
    )
    assert ended.stdout == "refused\nrefused\n", ended.stderr


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_no_descriptor_leaks_whatever_happens(decode_file, tmp_path):
    good = encode(tmp_path / "a.flac", noise(1.0), 16_000, "flac")
    bad = BAD_AUDIO["text"].write(tmp_path, "text")
    before = len(os.listdir("/proc/self/fd"))
    decode_file(good)
    with pytest.raises(InvalidAudio):
        decode_file(bad)
    assert len(os.listdir("/proc/self/fd")) == before
