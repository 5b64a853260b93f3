"""Speak text with libespeak-ng and tell when each word and phoneme sounds.

The library is called through ctypes in retrieval mode: nothing is played, the callback gets samples and events.
Training needs it; the product and its tests do not.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import EspeakMissing, VoiceMissing

SAMPLING_RATE = 22_050  # espeak-ng's own

_RETRIEVAL = 1
_PHONEME_EVENTS = 1
_CHARS_UTF8 = 1
_EVENT_END, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_RATE, _VOLUME, _PITCH, _RANGE = 1, 2, 3, 4
_PAUSES = ("", "_", "_:", "_!", "_|", "_^_")


@dataclass(frozen=True)
class Prosody:
    """How something is said: words per minute, pitch and its range from 0 to 100 (50 is the voice's own)."""

    words_per_minute: int = 160
    pitch: int = 50
    pitch_range: int = 50


@dataclass(frozen=True)
class Sound:
    """A word or phoneme and where it lies, in samples; a phoneme's text is espeak-ng's mnemonic."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Utterance:
    """Speech at 22,050 Hz: int16 (samples,), its words, and its phonemes without pauses."""

    samples: NDArray[np.int16]
    words: tuple[Sound, ...]
    phonemes: tuple[Sound, ...]


class _EventId(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _EventId),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


@dataclass(frozen=True)
class _Mark:
    """An event as it came: a word has its place in the text, a phoneme its mnemonic."""

    kind: int
    sample: int
    text_position: int
    mnemonic: str


class Espeak:
    """The one instance of the library that a process can have; get it with ``espeak()``."""

    def __init__(self) -> None:
        self._library = _load()
        self._callback = _Callback(self._collect)  # kept: the library holds only the address
        self._library.espeak_Initialize(_RETRIEVAL, 500, None, _PHONEME_EVENTS)
        self._library.espeak_SetSynthCallback(self._callback)
        self._pieces: list[NDArray[np.int16]] = []
        self._marks: list[_Mark] = []

    def speak(self, text: str, voice: str, prosody: Prosody = Prosody()) -> Utterance:  # frozen
        """Say a text; raises ``VoiceMissing``. Words are those between spaces that the library reported."""
        if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
            raise VoiceMissing(f"espeak-ng has no voice {voice!r}: see espeak-ng --voices")
        settings = ((_RATE, prosody.words_per_minute), (_PITCH, prosody.pitch), (_RANGE, prosody.pitch_range))
        for parameter, value in settings:
            self._library.espeak_SetParameter(parameter, value, 0)
        self._pieces.clear()
        self._marks.clear()
        content = text.encode()
        self._library.espeak_Synth(content, len(content) + 1, 0, 1, 0, _CHARS_UTF8, None, None)
        self._library.espeak_Synchronize()
        samples = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)
        phonemes = _phonemes(self._marks, len(samples))
        return Utterance(samples, tuple(_words(text, self._marks, phonemes)), tuple(phonemes))

    def _collect(self, wave: Any, count: int, events: Any) -> int:
        if wave and count > 0:
            self._pieces.append(np.ctypeslib.as_array(wave, (count,)).copy())
        place = 0
        while events[place].type != _EVENT_END:
            event = events[place]
            if event.type in (_EVENT_WORD, _EVENT_PHONEME):
                mnemonic = event.id.string.decode("utf-8", "replace") if event.type == _EVENT_PHONEME else ""
                self._marks.append(_Mark(event.type, event.sample, event.text_position, mnemonic))
            place += 1
        return 0


@cache
def espeak() -> Espeak:
    """Return the process's speech synthesiser; raises ``EspeakMissing``."""
    return Espeak()


def _load() -> Any:
    for name in (ctypes.util.find_library("espeak-ng"), "libespeak-ng.so.1", "libespeak-ng.dylib"):
        try:
            if name:
                return ctypes.CDLL(name)
        except OSError:
            continue
    raise EspeakMissing(
        "libespeak-ng speaks the training data and is not installed: install the package espeak-ng. "
        "Only training needs it; checkpoints that exist need nothing of it."
    )


def _phonemes(marks: list[_Mark], total: int) -> list[Sound]:
    """Give each phoneme the span up to the next one, and leave pauses out."""
    found = sorted((mark for mark in marks if mark.kind == _EVENT_PHONEME), key=lambda mark: mark.sample)
    ends = [mark.sample for mark in found[1:]] + [total]
    return [
        Sound(mark.mnemonic, mark.sample, min(end, total))
        for mark, end in zip(found, ends, strict=True)
        if mark.mnemonic not in _PAUSES and mark.sample < end
    ]


def _words(text: str, marks: list[_Mark], phonemes: list[Sound]) -> list[Sound]:
    """Give each word the span of the phonemes between its event and the next word's."""
    found = [mark for mark in marks if mark.kind == _EVENT_WORD]
    ends = [mark.sample for mark in found[1:]] + [1 << 40]
    words = []
    for mark, end in zip(found, ends, strict=True):
        own = [phoneme for phoneme in phonemes if mark.sample <= phoneme.start < end]
        said = text[mark.text_position - 1 :].split(maxsplit=1)
        if own and said:
            words.append(Sound(said[0], own[0].start, own[-1].end))
    return words
