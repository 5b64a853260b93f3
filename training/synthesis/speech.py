"""Draw lines of the world and speak them as samples at 16 kHz with words and phonemes in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training import foreign, world
from training.clips import FRAME_SECONDS
from training.synthesis import espeak, flite
from training.synthesis.sounds import SAMPLING_RATE, Wave
from training.takes import Take, TimedWord, mel_energies
from training.world import Line

_MNEMONICS = (
    "n t I d r eI m l k oU s w @ E aI a f b i 0 i: O@ V z j p v D N u: a# T h U A@ g 3: 3 O2 O: @2 r- ; i@ A: "
    "aU S o@ U@ t# t2 e@ @5 I2 tS dZ Z OI aI@ aI3 @L e I# E2 d# n- l- ? x"
)
PHONEMES = tuple(_MNEMONICS.split())
"""espeak-ng's mnemonics of English; phoneme k has id k + 1, and one that is not listed shares the last id."""

OTHER_PHONEME = len(PHONEMES) + 1
PHONEME_COUNT = OTHER_PHONEME + 1  # with 0, nothing said

ROOM_SHARE = 0.25
FLITE_PREFIX = "flite:"
FLITE_WORDS_PER_MINUTE = 160  # about, at stretch 1
EDGE_SAMPLES = 320  # 20 ms
TILT_DB_PER_OCTAVE = {"neutral": 0.0, "happy": 3.0, "sad": -4.0, "angry": 2.0}
TILT_FROM_HZ = 500.0


@dataclass(frozen=True)
class Speech:
    """A spoken line: float samples (n,) at 16 kHz, words and phonemes with their seconds."""

    line: Line
    samples: NDArray[np.float32]
    words: tuple[tuple[str, float, float], ...]
    phonemes: tuple[tuple[int, float, float], ...]


def draw_line(
    chance: np.random.Generator, kind: str, *, held_out: bool = False, new_voice: bool = False
) -> Line:
    """Draw who says what and how; ``kind`` is sentence, words or foreign."""
    variants = world.NEW_VARIANTS if new_voice else world.VARIANTS
    variant = str(chance.choice(list(variants)))
    emotion = str(chance.choice(world.EMOTIONS, p=(0.4, 0.2, 0.2, 0.2)))
    language, accent = "en", str(chance.choice(world.ACCENTS))
    if kind == "foreign":
        language = str(chance.choice(list(foreign.SENTENCES)))
        accent = foreign.VOICES[language]
        text = foreign.draw_sentence(language, chance, held_out=held_out)
    elif kind == "words":
        text = world.draw_words(chance)
    else:
        text = world.draw_sentence(chance, held_out=held_out)
    prosody = world.draw_prosody(emotion, chance)
    return Line(text, language, f"{accent}+{variant}", variants[variant], emotion, prosody, kind)


def draw_flite_line(chance: np.random.Generator, kind: str) -> Line:
    """Draw a line for flite's voices, which know no emotions; ``kind`` is sentence or words."""
    voice = str(chance.choice(list(flite.VOICES)))
    text = world.draw_words(chance) if kind == "words" else world.draw_sentence(chance, held_out=False)
    speed = round(FLITE_WORDS_PER_MINUTE * chance.uniform(0.85, 1.25))
    prosody = espeak.Prosody(speed)
    return Line(text, "en", FLITE_PREFIX + voice, flite.VOICES[voice], "neutral", prosody, kind)


def speak(line: Line) -> Speech | None:
    """Speak a line, or return None where the synthesiser ran words together and their times are unknown."""
    said, rate = _say(line)
    if line.language == "en" and [word.text for word in said.words] != line.text.split():
        return None
    if not said.phonemes:
        return None
    samples = said.samples / 32_768.0
    if rate != SAMPLING_RATE:
        samples = resample(samples)
    samples = voice_quality(samples, line.emotion)
    samples = samples * (0.1 / max(float(np.sqrt(np.mean(samples**2))), 1e-6))
    return Speech(
        line,
        samples.astype(np.float32),
        tuple((word.text, word.start / rate, word.end / rate) for word in said.words),
        tuple((phoneme_id(sound.text), sound.start / rate, sound.end / rate) for sound in said.phonemes),
    )


def voice_quality(samples: Wave, emotion: str) -> Wave:
    """Give a voice ``(n,)`` at 16 kHz the sound of its emotion, which espeak-ng leaves to melody and speed.

    A raised voice is rough and bright, a cheerful one bright, a sad one soft in the treble: the tilt of the spectrum is
    what listeners go by (Banse and Scherer, 1996).
    """
    if emotion == "angry":
        samples = np.tanh(samples / max(float(np.max(np.abs(samples))), 1e-6) * 4)
    tilt = TILT_DB_PER_OCTAVE[emotion]
    if not tilt:
        return samples
    spectrum = np.fft.rfft(samples)
    octaves = np.log2(
        np.maximum(np.fft.rfftfreq(len(samples), 1 / SAMPLING_RATE), TILT_FROM_HZ) / TILT_FROM_HZ
    )
    return np.asarray(np.fft.irfft(spectrum * 10 ** (tilt * octaves / 20), len(samples)))


def _say(line: Line) -> tuple[espeak.Utterance, int]:
    """Speak with the synthesiser that has the voice; flite's silence around the speech is cut off."""
    if not line.voice.startswith(FLITE_PREFIX):
        return espeak.espeak().speak(line.text, line.voice, line.prosody), espeak.SAMPLING_RATE
    stretch = FLITE_WORDS_PER_MINUTE / line.prosody.words_per_minute
    said = flite.speak(line.text, line.voice.removeprefix(FLITE_PREFIX), stretch)
    begin = max(0, said.phonemes[0].start - EDGE_SAMPLES)
    end = said.phonemes[-1].end + EDGE_SAMPLES
    return espeak.Utterance(
        said.samples[begin:end],
        tuple(espeak.Sound(word.text, word.start - begin, word.end - begin) for word in said.words),
        tuple(
            espeak.Sound(flite.MNEMONICS.get(one.text, "?"), one.start - begin, one.end - begin)
            for one in said.phonemes
        ),
    ), flite.SAMPLING_RATE


def phoneme_id(mnemonic: str) -> int:
    """Return the id of a phoneme, 1 to ``OTHER_PHONEME``."""
    return PHONEMES.index(mnemonic) + 1 if mnemonic in PHONEMES else OTHER_PHONEME


def resample(samples: Wave) -> Wave:
    """Bring samples from 22,050 Hz to 16,000 Hz by cutting their spectrum: (n,) to (n * 320 / 441,)."""
    blocks = -(-len(samples) // 441)
    spectrum = np.fft.rfft(samples, blocks * 441)
    return np.asarray(np.fft.irfft(spectrum[: blocks * 160 + 1], blocks * 320) * (320 / 441))


def add_room(samples: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float32]:
    """Let a voice sound in a small room: an echo tail of noise that dies away in 0.1 to 0.4 s."""
    decay = chance.uniform(0.1, 0.4)
    count = round(decay * SAMPLING_RATE)
    tail = chance.normal(size=count) * np.exp(-6.9 * np.arange(count) / count) * chance.uniform(0.02, 0.06)
    tail[0] = 1.0
    size = 1 << (len(samples) + count).bit_length()
    wet = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(tail, size), size)[: len(samples)]
    return wet.astype(np.float32)


def speech_take(speech: Speech, chance: np.random.Generator) -> Take:
    """Make a take of a spoken line, in a room now and then."""
    samples = add_room(speech.samples, chance) if chance.random() < ROOM_SHARE else speech.samples
    mel = mel_energies(samples)
    line = speech.line
    phonemes = np.zeros(len(mel) if line.language == "en" else 0, np.uint8)
    for name, start, end in speech.phonemes:
        phonemes[round(start / FRAME_SECONDS) : round(end / FRAME_SECONDS)] = name
    words = tuple(
        TimedWord(text, round(start / FRAME_SECONDS), round(end / FRAME_SECONDS))
        for text, start, end in speech.words
    )
    traits = {
        "language": line.language,
        "speaker": line.speaker,
        "emotion": line.emotion,
        "voice": line.voice,
    }
    return Take(line.kind, mel, "", line.text, words if line.language == "en" else (), phonemes, traits)
