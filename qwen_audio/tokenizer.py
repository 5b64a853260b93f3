"""Turn text, tags and time tags into token ids and back, over the official ``qwen.tiktoken`` file.

The one place that knows ids: they follow from the number of ranks in the file and from the official order of the
3,522 control tokens behind them. Text and control tokens never mix: ``encode`` cannot produce a control id.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Self

import tiktoken

from qwen_audio.errors import InvalidPrompt, InvalidVocabulary
from qwen_audio.tags import LAST_TIME_CENTISECONDS, Prompt, Tag, TimeTag, UnknownTag

VOCABULARY_FILE = "qwen.tiktoken"
AUDIO_PLACEHOLDER = "[[[AUDIO:modality]]]"  # stands for one audio token in the ids of a prompt

# How Qwen splits text before merging bytes: words, single digits, punctuation, line ends, spaces.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_AUDIO_SPAN = re.compile(f"{Tag.AUDIO_START}(.*?){Tag.AUDIO_END}")
_LOOKS_LIKE_A_TAG = re.compile(r"<\|.*?\|>")


@cache
def control_tokens() -> tuple[str, ...]:
    """List the 3,522 control tokens in the official order; the first one's id is the number of ranks."""
    return (
        *_tags(Tag.END_OF_TEXT, Tag.IM_END),
        *(f"<|extra_{number}|>" for number in range(205)),
        AUDIO_PLACEHOLDER,
        *_tags(Tag.START_OF_TRANSCRIPT, Tag.TIMESTAMPS),
        *(str(TimeTag(centiseconds)) for centiseconds in range(LAST_TIME_CENTISECONDS + 1)),
        *_tags(Tag.CAPTION_AUDIOCAPS, Tag.PITCH),
        *(f"<|midi_pitch_{number}|>" for number in range(128)),
        *_tags(Tag.VELOCITY, Tag.VELOCITY),
        *(f"<|midi_velocity_{number}|>" for number in range(128)),
        *_tags(Tag.SONIC, Tag.SPEECH_EDIT),
        *_tags(Tag.AUDIO_START, Tag.AUDIO_END),
    )


def _tags(first: Tag, last: Tag) -> list[str]:
    """List the spellings from ``first`` to ``last``: ``Tag`` keeps the official order inside each such run."""
    tags = list(Tag)
    return [tag.value for tag in tags[tags.index(first) : tags.index(last) + 1]]


class QwenAudioTokenizer:
    """Encodes and decodes for one checkpoint; immutable and safe to share between threads.

    ``ranks`` maps the bytes of each plain token to its id, 0 to n - 1, and holds every single byte.
    """

    def __init__(self, ranks: dict[bytes, int]) -> None:
        _check_ranks(ranks)
        self._control = {text: len(ranks) + place for place, text in enumerate(control_tokens())}
        self._encoding = tiktoken.Encoding(
            "qwen", pat_str=SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens=self._control
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """Read ``qwen.tiktoken`` from a checkpoint's folder; raises ``InvalidVocabulary``."""
        return cls(read_ranks(Path(folder) / VOCABULARY_FILE))

    @property
    def vocabulary_size(self) -> int:
        """How many ids exist; the checkpoint's embedding may have more rows, which mean nothing."""
        return self._encoding.n_vocab

    @property
    def control_ids(self) -> range:
        """The ids of all control tokens."""
        return range(self.vocabulary_size - len(self._control), self.vocabulary_size)

    def id_of(self, tag: Tag | TimeTag) -> int:
        """Return a control token's id."""
        return self._control[str(tag)]

    def encode(self, text: str) -> list[int]:
        """Encode plain text (NFC-normalised); no text whatever yields a control id."""
        return self._encoding.encode_ordinary(unicodedata.normalize("NFC", text))

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        """Encode what follows the audio: tags by id, text as plain text."""
        ids: list[int] = []
        for part in prompt.parts:
            ids.extend(self.encode(part) if isinstance(part, str) else [self.id_of(part)])
        return ids

    def encode_template(self, text: str, audio_tokens: Sequence[int] = ()) -> list[int]:
        """Encode trusted text in the official notation, where control tokens are spelled out.

        Each ``<audio>path</audio>`` becomes a span of ``audio_tokens[k] + 2`` ids; the path is dropped. Raises
        ``UnknownTag`` for a ``<|...|>`` that is no control token and ``InvalidPrompt`` for an audio tag without its
        partner, or when the number of spans is not ``len(audio_tokens)``. Never feed it text from a user.
        """
        pieces = _AUDIO_SPAN.split(text)  # text, path, text, path, ..., text
        if len(pieces) // 2 != len(audio_tokens):
            raise InvalidPrompt(
                f"the template has {len(pieces) // 2} audio spans for {len(audio_tokens)} clips"
            )
        ids = self._encode_trusted(pieces[0])
        for piece, tokens in zip(pieces[2::2], audio_tokens, strict=True):
            ids += [
                self.id_of(Tag.AUDIO_START),
                *[self._control[AUDIO_PLACEHOLDER]] * tokens,
                self.id_of(Tag.AUDIO_END),
            ]
            ids += self._encode_trusted(piece)
        return ids

    def _encode_trusted(self, text: str) -> list[int]:
        for audio_tag in (Tag.AUDIO_START, Tag.AUDIO_END):
            if audio_tag.value in text:
                raise InvalidPrompt(f"{audio_tag} stands without its partner in {text!r}")
        for match in _LOOKS_LIKE_A_TAG.findall(text):
            if match not in self._control:
                raise UnknownTag(f"{match!r} is not a control token of Qwen-Audio")
        return self._encoding.encode(unicodedata.normalize("NFC", text), allowed_special="all")

    def decode(self, ids: Iterable[int], *, skip_special: bool = False) -> str:
        """Decode ids to text; bytes that are not UTF-8 become U+FFFD, ids that do not exist become nothing.

        ``skip_special`` leaves out every control token, time tags too.
        """
        size = self.control_ids.start if skip_special else self.vocabulary_size
        known = (self._bytes_of(id_) for id_ in ids if id_ < size)
        return b"".join(known).decode("utf-8", errors="replace")

    def decode_in_step(self, ids: Iterable[int]) -> tuple[str, tuple[int, ...]]:
        """Decode ids to the text of ``decode``, and say for each id which character its first byte belongs to.

        A character that is cut over several ids belongs to all of them. An id without bytes points at what follows.
        """
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        text, starts = "", []
        for id_ in ids:
            content = self._bytes_of(id_)
            text += decoder.decode(content[:1])
            is_whole = bool(content) and not decoder.getstate()[0]  # the first byte ended its character
            starts.append(len(text) - is_whole)
            text += decoder.decode(content[1:])
        return text + decoder.decode(b"", final=True), tuple(starts)

    def _bytes_of(self, id_: int) -> bytes:
        """Return an id's bytes, none when it does not exist."""
        if not 0 <= id_ < self.vocabulary_size:
            return b""
        return self._encoding.decode_single_token_bytes(id_)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a ``.tiktoken`` file: one ``base64(bytes) rank`` per line; raises ``InvalidVocabulary``."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise InvalidVocabulary(f"there is no vocabulary {path}: put the checkpoint's file there") from None
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            token, rank = line.split()
            ranks[base64.b64decode(token, validate=True)] = int(rank)
        except (ValueError, binascii.Error):
            raise InvalidVocabulary(f"{path}, line {number}: not 'base64 rank'") from None
    return ranks


def _check_ranks(ranks: dict[bytes, int]) -> None:
    if sorted(ranks.values()) != list(range(len(ranks))):
        raise InvalidVocabulary(f"the {len(ranks)} ranks of the vocabulary do not run from 0 without a gap")
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise InvalidVocabulary(f"the vocabulary lacks {len(missing)} single bytes, first {missing[0]:#04x}")
