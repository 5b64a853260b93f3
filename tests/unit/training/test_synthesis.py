"""Synthesis makes the same pieces of the same seed, with words where they sound; without a synthesiser it says so."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from training.errors import EspeakMissing, FliteMissing, VoiceMissing
from training.synthesis import espeak, flite, music, sounds, speech
from training.synthesis.speech import resample


def found(load: Callable[[], object]) -> bool:
    try:
        load()
    except (EspeakMissing, FliteMissing):
        return False
    return True


needs_espeak = pytest.mark.skipif(not found(espeak.espeak), reason="the package espeak-ng is not installed")
needs_flite = pytest.mark.skipif(not found(flite._library), reason="the package flite is not installed")


@pytest.mark.parametrize("kind", sounds.SOUNDS)
def test_a_sound_is_full_finite_and_the_same_again(kind: str) -> None:
    wave = sounds.make_sound(kind, 1.0, np.random.default_rng(3))
    again = sounds.make_sound(kind, 1.0, np.random.default_rng(3))
    assert wave.shape == (16_000,)
    assert np.max(np.abs(wave)) == pytest.approx(1.0)
    assert np.array_equal(wave, again)
    assert not np.array_equal(wave, sounds.make_sound(kind, 1.0, np.random.default_rng(4)))


@pytest.mark.parametrize("instrument", music.INSTRUMENTS)
def test_a_note_sounds_at_its_pitch(instrument: str) -> None:
    wave = music.play(music.Note(instrument, 69, 50), 1.0, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    peaks = np.flatnonzero(spectrum > 0.2 * spectrum.max())  # 1 Hz a bin
    assert min(abs(peaks % 440 - 0).min(), abs(peaks % 440 - 440).min()) <= 6


def test_resampling_keeps_a_tone() -> None:
    tone = np.sin(2 * np.pi * 1_000 * np.arange(22_050) / 22_050)
    out = resample(tone)
    assert len(out) == 16_000
    assert np.argmax(np.abs(np.fft.rfft(out))) == 1_000
    assert np.std(out) == pytest.approx(np.std(tone), rel=0.01)


@needs_espeak
def test_espeak_tells_words_and_phonemes_in_order() -> None:
    said = espeak.espeak().speak("hello anna your book is ready", "en-us+f1")
    assert [word.text for word in said.words] == ["hello", "anna", "your", "book", "is", "ready"]
    times = [edge for word in said.words for edge in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(said.samples)
    loud = np.flatnonzero(np.abs(said.samples) > 500)
    assert abs(loud[0] - said.words[0].start) < 0.06 * espeak.SAMPLING_RATE
    assert {phoneme.text for phoneme in said.phonemes} <= set(speech.PHONEMES)


@needs_espeak
def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(VoiceMissing, match="en-xx"):
        espeak.espeak().speak("hello", "en-xx")


@needs_espeak
def test_a_spoken_line_becomes_a_take_with_its_words_in_frames() -> None:
    chance = np.random.default_rng(0)
    said = speech.speak(speech.draw_line(chance, "sentence"))
    assert said is not None
    take = speech.speech_take(said, chance)
    assert [word.text for word in take.words] == take.text.split()
    assert take.words[-1].end <= len(take.mel) == len(take.phonemes)
    middle = (take.words[0].start + take.words[0].end) // 2
    assert take.phonemes[middle] > 0


@needs_flite
def test_flite_tells_words_and_phonemes_in_order() -> None:
    said = flite.speak("hello anna your book is ready", "slt")
    assert [word.text for word in said.words] == ["hello", "anna", "your", "book", "is", "ready"]
    times = [edge for word in said.words for edge in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= len(said.samples)
    assert all(phoneme.text in flite.MNEMONICS for phoneme in said.phonemes)


@pytest.mark.parametrize(
    ("module", "load", "error", "package"),
    [
        (espeak, espeak._load, EspeakMissing, "espeak-ng"),
        (flite, lambda: flite._load("libflite.so.1"), FliteMissing, "flite"),
    ],
)
def test_a_missing_synthesiser_is_explained(
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    load: Callable[[], object],
    error: type[Exception],
    package: str,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no such library")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(error, match=f"install the package {package}"):
        load()
