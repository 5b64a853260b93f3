"""Build the mini model's vocabulary: every byte, then whole words of its world."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

from qwen_audio.tokenizer import VOCABULARY_FILE, QwenAudioTokenizer
from training import captions, world
from training.synthesis import music, sounds


def mini_ranks() -> dict[bytes, int]:
    """Return the ranks: the 256 bytes, then words as they follow a space and as they begin an answer.

    The tokenizer takes a piece that is a token whole, before it merges bytes, so words need no merges of their own.
    """
    inner = {f" {word}" for word in (*world.words(), *_words(captions.every_part()))}
    first = {part.split()[0] for part in captions.every_part()}
    inner |= {f" {word}" for text in captions.every_question() for word in text.split()[1:]}
    first |= {text.split()[0] for text in captions.every_question()} | {"yes", "no"}
    first |= {*captions.every_event(), "man", "woman"}
    inner |= {f" {event}" for event in captions.every_event()}
    first |= {*world.EMOTIONS, *sounds.VOCALS, *music.INSTRUMENTS, "bright", "dark"}
    for _, scene in sounds.GROUNDS.values():
        first.add(scene)
    tokens = [bytes([byte]) for byte in range(256)]
    words = sorted(
        word for word in inner | first | {"quiet", " room", " fast", "decay"} if len(word.encode()) > 1
    )
    return {token: rank for rank, token in enumerate([*tokens, *(word.encode() for word in words)])}


def _words(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in text.split()}


def mini_tokenizer() -> QwenAudioTokenizer:
    """Return the tokenizer over the mini vocabulary."""
    return QwenAudioTokenizer(mini_ranks())


def write_ranks(ranks: dict[bytes, int], folder: Path) -> None:
    """Write ``qwen.tiktoken``."""
    lines = [b"%s %d" % (base64.b64encode(token), rank) for token, rank in ranks.items()]
    (folder / VOCABULARY_FILE).write_bytes(b"\n".join(lines) + b"\n")
