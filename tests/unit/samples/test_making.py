"""The bundled recordings are of the mini model's world, and nothing in them was trained on."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samples import list_samples
from training import world
from training.samples import make
from training.samples.make import RunTogether, make_all
from training.samples.recording import Piece, encode, lay
from training.samples.scenes import CALL, NOTICE, SCENES, VOICEMAIL, Encoding, Say, Scene
from training.synthesis import espeak
from training.synthesis.speech import Speech
from training.world import CLASSES, HELD_OUT_SHARE, HELD_OUT_TEMPLATES, TEMPLATES, Line

SAMPLES = {sample.name: sample for sample in list_samples()}
LINES = sorted({turn.text for scene in SCENES for turn in scene.turns if isinstance(turn, Say)})
ALWAYS_OF_THE_SAMPLES = ("thank you and goodbye",)  # bundled before the first takes were made

by_codec = pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.encoding.codec)
needs_espeak = pytest.mark.skipif(
    not ctypes.util.find_library("espeak-ng"), reason="libespeak-ng is not installed"
)


def fills(template: str, sentence: str) -> bool:
    """Whether the template can be filled so that it is the sentence."""
    pattern = re.sub(r"<(\w+)>", lambda match: f"({CLASSES[match[1]].replace(' ', '|')})", template)
    return re.fullmatch(pattern, sentence) is not None


@pytest.mark.parametrize("text", LINES)
def test_a_line_is_of_the_world_and_was_never_trained_on(text: str) -> None:
    sentence = world.plain(text)
    is_digits = set(sentence.split()) <= set(CLASSES["digit"].split())
    is_unseen = any(fills(template, sentence) for template in HELD_OUT_TEMPLATES)
    is_held_out_filling = any(fills(template, sentence) for template in TEMPLATES) and (
        zlib.crc32(sentence.encode()) % HELD_OUT_SHARE == 0 or sentence in ALWAYS_OF_THE_SAMPLES
    )
    assert is_digits or is_unseen or is_held_out_filling


def test_voices_are_new_and_speak_in_an_accent_and_an_emotion_of_training() -> None:
    for speaker in {turn.speaker for scene in SCENES for turn in scene.turns if isinstance(turn, Say)}:
        accent, variant = speaker.voice.split("+")
        assert accent in world.ACCENTS
        assert variant not in world.VARIANTS
        assert speaker.sex == {"f": "woman", "m": "man"}[variant[0]]
        assert speaker.emotion in world.EMOTIONS


def test_the_bundled_description_is_of_the_scenes_in_the_code() -> None:
    told = {name: (one.title, [u.text for u in one.utterances]) for name, one in SAMPLES.items()}
    assert told == {
        scene.name: (scene.title, [turn.text for turn in scene.turns if isinstance(turn, Say)])
        for scene in SCENES
    }


def test_captions_are_in_the_words_of_training() -> None:
    assert {name: one.truth["caption"] for name, one in SAMPLES.items()} == {
        "voicemail": "a woman speaks",
        "notice": "a woman speaks and an alarm beeps",
        "weather": "rain falls while a bell rings",
        "kitchen": "rain falls while a man speaks and glass breaks",
        "call": "a man and a woman speak",
        "tour": "a man speaks",
    }


def hum(line: Line) -> Speech:
    """Half a second of a tone that begins after 100 ms, its words 50 ms each."""
    tone = np.zeros(9_600, np.float32)
    tone[1_600:] = 0.1 * np.sin(np.arange(8_000) * 0.1)
    words = line.text.split()
    times = tuple((word, 0.1 + 0.05 * k, 0.15 + 0.05 * k) for k, word in enumerate(words))
    return Speech(line, tone, times, ())


def describe(scenes: tuple[Scene, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Make scenes whose voices hum, and return their samples."""
    monkeypatch.setattr(make.speech, "speak", hum)
    make_all(folder, scenes)
    monkeypatch.setattr("samples.FOLDER", folder)
    return list(list_samples())


def test_making_writes_recordings_that_match_their_description(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decode, loudness
) -> None:
    notice, call = describe((CALL, NOTICE), tmp_path, monkeypatch)  # the short one first
    first, second = call.utterances[:2]
    assert (first.start_ms, first.end_ms, first.text) == (300, 600, "Hello Martin, your order is ready.")
    assert second.start_ms == 600 + 400
    wave, rate = decode(call.path)
    assert loudness(wave, rate, 320, 580)[0] > 0.05 > 0.005 > loudness(wave, rate, 320, 580)[1]
    assert loudness(wave, rate, 100, 280).max() < 0.005
    assert [word.word for word in call.words[:6]] == ["hello", "martin", "your", "order", "is", "ready"]
    assert (call.words[1].start_ms, call.words[1].end_ms, call.words[1].channel) == (350, 400, 0)
    (alarm,) = notice.sounds
    assert (alarm.kind, alarm.start_ms) == ("alarm", notice.utterances[-1].end_ms + 200)
    assert notice.truth["caption"] == "a woman speaks and an alarm beeps"
    assert notice.truth["emotion"] == "happy"


def test_voices_that_differ_in_emotion_have_none_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixed = replace(CALL, turns=(*CALL.turns[:2], *VOICEMAIL.turns[:1]))
    (sample,) = describe((mixed,), tmp_path, monkeypatch)
    assert sample.truth["emotion"] is None


def test_a_line_whose_words_run_together_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make.speech, "speak", lambda line: None)
    with pytest.raises(RunTogether, match="another sentence"):
        make_all(tmp_path, (VOICEMAIL,))


def test_a_piece_lies_on_its_channel_at_its_time() -> None:
    piece = np.full(1_600, 0.5)
    laid = lay([Piece(piece, 100), Piece(piece, 300, channel=1)], 500, 2)
    assert laid.shape == (8_000, 2)
    assert [list(np.flatnonzero(laid[:, channel])[[0, -1]]) for channel in (0, 1)] == [
        [1_600, 3_199],
        [1_600, 6_399],
    ]
    assert np.abs(laid).max() == 16_384


@by_codec
def test_the_same_samples_make_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    encoding: Encoding = scene.encoding
    wave = np.random.default_rng(1).integers(-9_000, 9_000, (5_000, encoding.channels), dtype=np.int16)
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        encode(wave, encoding, tmp_path / folder / encoding.file)
    one, two = ((tmp_path / folder / encoding.file).read_bytes() for folder in ("one", "two"))
    assert one == two


@needs_espeak
def test_a_real_voice_says_what_is_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_all(tmp_path, (VOICEMAIL,))
    monkeypatch.setattr("samples.FOLDER", tmp_path)
    (made,) = list_samples()
    bundled = SAMPLES["voicemail"]
    assert made.truth == bundled.truth
    for ours, theirs in zip(made.words, bundled.words, strict=True):
        assert ours.word == theirs.word
        assert abs(ours.start_ms - theirs.start_ms) < 500, "another version may speak a little differently"


def test_without_espeak_the_maker_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str | None, *_: object, **__: object) -> None:
        raise OSError(f"no {name}")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    monkeypatch.setattr(espeak, "espeak", espeak.Espeak)  # the process may have loaded it already
    with pytest.raises(espeak.EspeakMissing, match="install the package espeak-ng"):
        make_all(tmp_path, (VOICEMAIL,))
