from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from support import audio_makers as make

import pipeline.probe
from pipeline.probe import Probed, probe


@pytest.fixture
def files(tmp_path: Path) -> Iterator[list[BinaryIO]]:
    """A WAV, an MP3, bytes of no format, and nothing; two seconds each that is one."""
    make.encode(tmp_path / "a.wav", make.tone(2.0, 8_000), 8_000, "pcm_s16le")
    make.encode(tmp_path / "b.mp3", make.tone(2.0, 16_000), 16_000, "libmp3lame")
    (tmp_path / "c.flac").write_bytes(b"nothing of the kind" * 50)
    (tmp_path / "d.wav").touch()
    opened = [path.open("rb") for path in sorted(tmp_path.iterdir())]
    yield opened
    for file in opened:
        file.close()


def test_headers_say_how_long_recordings_are_or_what_is_wrong(files: list[BinaryIO]) -> None:
    wav, mp3, text, empty = probe(files, 60.0)
    assert wav == Probed(2.0)
    assert mp3.seconds == pytest.approx(2.0, abs=0.2)
    assert (text.code, empty.code) == ("unsupported_or_corrupt", "empty_file")


def test_a_long_file_needs_its_beginning_only(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    head = make.wav_bytes(b"\0" * 3_200, declared_bytes=3_600 * 32_000)
    path.write_bytes(head)
    with path.open("r+b") as file:
        file.truncate(44 + 3_600 * 32_000)
        assert probe([file], 60.0) == [Probed(3_600.0)]


@pytest.mark.parametrize(
    ("child", "code"),
    [
        ("import os; os.kill(os.getpid(), 9)", "decode_crashed"),
        ("print('[]'); print('{\"seconds\": 1e99}')", "decode_crashed"),
        ("import time; time.sleep(60)", "decode_timeout"),
    ],
)
def test_whatever_the_child_does_every_file_has_an_answer(
    files: list[BinaryIO], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str, code: str
) -> None:
    script = tmp_path / "child.py"
    script.write_text(child)
    monkeypatch.setattr(pipeline.probe, "_SCRIPT", script)
    answers = probe(files, 4.0)
    assert len(answers) == len(files)
    assert {answer.code for answer in answers} <= {code, "decode_crashed", "decode_timeout"}
    assert all(answer.seconds is None for answer in answers)
