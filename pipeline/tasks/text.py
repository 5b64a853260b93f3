"""Make readable text of what the model wrote, the way its official evaluation does."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

CONTROL_TOKEN = re.compile(r"<\|.*?\|>|</?audio>|\[\[\[AUDIO:modality\]\]\]")
SPACE_BEFORE_PUNCTUATION = re.compile(r"\s+(?=[,.?!;:])")
WHITESPACE = re.compile(r"\s+")

# Databases refuse NUL, and UTF-8 refuses a lone surrogate: neither is text.
NOT_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co"})
"""The Unicode categories of controls, of characters without width or with a direction of their own, and of none."""

UNSPACED_LANGUAGES = frozenset({"zh"})
COUNTED_BY_CHARACTER = UNSPACED_LANGUAGES | {"ja"}

# Hiragana, katakana (of half width too) and ideographs, without the points among them.
UNSPACED = (
    r"\u3005\u3041-\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3400-\u9fff\uf900-\ufaff\uff66-\uff9f"
)
_SPACED = rf"[^\W_{UNSPACED}]+"
SPOKEN_WORD = re.compile(rf"[{UNSPACED}]|{_SPACED}(?:'{_SPACED})*")
"""A word as it is timed and compared: of Chinese and Japanese, each character."""


def has_control_token(text: str) -> bool:
    """Say whether a control token stands in the text."""
    return CONTROL_TOKEN.search(text) is not None


def readable(text: str, language: str = "en") -> str:
    """Return the text without control tokens and with settled spaces; Chinese has none.

    Source: ``eval_audio/evaluate_asr.py`` of Qwen-Audio: tokens become spaces, runs of space become one, no space
    stays before ``,.?!;:``; for ``zh`` all whitespace goes.
    """
    bare = NOT_TEXT.sub(" ", CONTROL_TOKEN.sub(" ", text))
    if language in UNSPACED_LANGUAGES:
        return WHITESPACE.sub("", bare)
    return SPACE_BEFORE_PUNCTUATION.sub("", WHITESPACE.sub(" ", bare)).strip()


def visible(text: str) -> str:
    """Return what somebody wrote as text alone: what is invisible goes, every white space is one space.

    Composed (NFC) last, so that what is visible already stays as it is.
    """
    spaced = "".join(" " if char.isspace() else char for char in text)
    kept = "".join(char for char in spaced if unicodedata.category(char) not in INVISIBLE)
    return " ".join(unicodedata.normalize("NFC", kept).split())


def join_words(words: Iterable[str], language: str) -> str:
    """Write words as a sentence of this language."""
    return readable(" ".join(words), language)


def has_letters(text: str) -> bool:
    """Say whether the text holds a letter or a digit of any script."""
    return any(character.isalnum() for character in text)


def count_words(text: str, language: str) -> int:
    """Return how many words a text has: in Chinese and Japanese, which write no spaces, how many characters."""
    return len(SPOKEN_WORD.findall(text) if language in COUNTED_BY_CHARACTER else text.split())
