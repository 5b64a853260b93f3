"""Speak English with libflite and read each word's and phoneme's time from its utterance relations.

A second synthesiser makes a second kind of voice. Training may use it; the product and its tests do not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from training.errors import FliteMissing, VoiceMissing
from training.synthesis.espeak import Sound, Utterance

VOICES: dict[str, str] = {"slt": "woman", "rms": "man", "awb": "man", "kal16": "man"}
"""flite's English voices at 16 kHz, and how a caption calls the speaker."""

SAMPLING_RATE = 16_000
MNEMONICS: dict[str, str] = {
    "hh": "h",
    "ax": "@",
    "ow": "oU",
    "ae": "a",
    "y": "j",
    "ao": "O:",
    "er": "3:",
    "ih": "I",
    "eh": "E",
    "iy": "i:",
    "ey": "eI",
    "ay": "aI",
    "aw": "aU",
    "oy": "OI",
    "uw": "u:",
    "uh": "U",
    "ah": "V",
    "aa": "A:",
    "sh": "S",
    "zh": "Z",
    "ch": "tS",
    "jh": "dZ",
    "th": "T",
    "dh": "D",
    "ng": "N",
} | {one: one for one in ("l", "n", "r", "d", "z", "b", "p", "t", "k", "g", "f", "v", "s", "m", "w")}
"""flite's phonemes as espeak-ng writes them."""

_PAUSES = ("pau", "h#", "brth")
_FIRST_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
_LAST_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"
_SLOWEST, _FASTEST = 0.5, 2.0


class _Wave(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


def speak(text: str, voice: str, stretch: float = 1.0) -> Utterance:
    """Say a text at 16 kHz, ``stretch`` times as slowly as the voice would.

    Raises ``FliteMissing`` or ``VoiceMissing``.
    """
    if voice not in VOICES:
        raise VoiceMissing(f"flite has no voice {voice!r} here: choose one of {', '.join(VOICES)}")
    if not _SLOWEST <= stretch <= _FASTEST:
        raise ValueError(f"stretch must be between {_SLOWEST} and {_FASTEST}, not {stretch}")
    library, handle = _library(), _voice(voice)
    features = ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[
        1
    ]  # a voice begins with its name and these
    library.feat_set_float(features, b"duration_stretch", stretch)
    utterance = library.flite_synth_text(text.encode(), handle)
    try:
        wave = library.utt_wave(utterance).contents
        samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples,)).copy()
        return Utterance(samples, tuple(_words(utterance)), tuple(_phonemes(utterance)))
    finally:
        library.delete_utterance(utterance)


def _words(utterance: Any) -> Iterator[Sound]:
    library = _library()
    for item in _items(utterance, b"Word"):
        start = library.ffeature_float(item, _FIRST_START)
        end = library.ffeature_float(item, _LAST_END)
        yield Sound(library.item_feat_string(item, b"name").decode(), _samples(start), _samples(end))


def _phonemes(utterance: Any) -> Iterator[Sound]:
    library, start = _library(), 0
    for item in _items(utterance, b"Segment"):
        end = _samples(library.item_feat_float(item, b"end"))
        name = library.item_feat_string(item, b"name").decode()
        if name not in _PAUSES:
            yield Sound(name, start, end)
        start = end


def _items(utterance: Any, relation: bytes) -> Iterator[Any]:
    library = _library()
    item = library.relation_head(library.utt_relation(utterance, relation))
    while item:
        yield item
        item = library.item_next(item)


def _samples(seconds: float) -> int:
    return round(seconds * SAMPLING_RATE)


@cache
def _library() -> Any:
    library = _load("libflite.so.1")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float
    signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "flite_synth_text": (pointer, (text, pointer)),
        "utt_wave": (ctypes.POINTER(_Wave), (pointer,)),
        "utt_relation": (pointer, (pointer, text)),
        "relation_head": (pointer, (pointer,)),
        "item_next": (pointer, (pointer,)),
        "item_feat_string": (text, (pointer, text)),
        "item_feat_float": (number, (pointer, text)),
        "ffeature_float": (number, (pointer, text)),
        "feat_set_float": (None, (pointer, text, number)),
        "delete_utterance": (None, (pointer,)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.flite_init()
    return library


@cache
def _voice(name: str) -> Any:
    register = getattr(_load(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.restype, register.argtypes = ctypes.c_void_p, (ctypes.c_char_p,)
    return register(None)


def _load(name: str) -> Any:
    try:
        return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)  # voices find the synthesiser's symbols in it
    except OSError:
        raise FliteMissing(
            f"{name} speaks part of the training data and is not installed: install the package flite. "
            "Training can do without it; checkpoints that exist need nothing of it."
        ) from None
