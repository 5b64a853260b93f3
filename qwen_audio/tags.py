"""Name Qwen-Audio's control tokens and build prompts from them in the official order.

Free of torch: the API, the planner and the task modules import it. Ids are not written down here; the tokenizer
owns them (``qwen_audio.tokenizer``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from qwen_audio.errors import QwenAudioError

LAST_TIME_CENTISECONDS = 3_000  # <|30.00|>, the end of the longest clip


class UnknownTag(QwenAudioError, ValueError):
    """The text is not a control token of Qwen-Audio."""

    code = "unknown_tag"


class Tag(Enum):
    """A control token that a prompt or an answer can hold; the value is its exact spelling."""

    END_OF_TEXT = "<|endoftext|>"
    IM_START = "<|im_start|>"
    IM_END = "<|im_end|>"
    AUDIO_START = "<audio>"
    AUDIO_END = "</audio>"

    START_OF_TRANSCRIPT = "<|startoftranscript|>"
    START_OF_ANALYSIS = "<|startofanalysis|>"

    TRANSLATE = "<|translate|>"
    TRANSCRIBE = "<|transcribe|>"
    CAPTION = "<|caption|>"
    KEYWORD = "<|keyword|>"

    UNKNOWN = "<|unknown|>"  # audio language: not speech, or any
    EN = "<|en|>"
    ZH = "<|zh|>"
    DE = "<|de|>"
    ES = "<|es|>"
    KO = "<|ko|>"
    FR = "<|fr|>"
    JA = "<|ja|>"
    IT = "<|it|>"
    ZH_TR = "<|zh_tr|>"

    NO_TIMESTAMPS = "<|notimestamps|>"
    SILENCE = "<|sil|>"
    TIMESTAMPS = "<|timestamps|>"

    CAPTION_AUDIOCAPS = "<|caption_audiocaps|>"
    CAPTION_CLOTHO = "<|caption_clotho|>"
    AUDIOSET_ONTOLOGY = "<|audioset_ontology|>"
    CAPTION_PLAIN = "<|caption_plain|>"
    ITN = "<|itn|>"  # inverse text normalisation: "42", not "forty two"
    WITHOUT_ITN = "<|wo_itn|>"

    START_OF_ENTITY_VALUE = "<|startofentityvalue|>"
    END_OF_ENTITY_VALUE = "<|endofentityvalue|>"
    START_OF_ENTITY_TYPE = "<|startofentitytype|>"
    END_OF_ENTITY_TYPE = "<|endofentitytype|>"
    NAMED_ENTITY_RECOGNITION = "<|named_entity_recognition|>"
    AUDIO_GROUNDING = "<|audio_grounding|>"
    START_OF_WORD = "<|startofword|>"
    END_OF_WORD = "<|endofword|>"
    DELIMITER = "<|delim|>"
    EMOTION_RECOGNITION = "<|emotion_recognition|>"
    MUSIC_DESCRIPTION = "<|music_description|>"
    NOTE_ANALYSIS = "<|note_analysis|>"
    PITCH = "<|pitch|>"
    VELOCITY = "<|velocity|>"
    SONIC = "<|sonic|>"
    INSTRUMENT = "<|instrument|>"
    SPEAKER_META = "<|speaker_meta|>"
    SONG_META = "<|song_meta|>"
    QUESTION = "<|question|>"
    ANSWER = "<|answer|>"
    CHOICE = "<|choice|>"
    SCENE = "<|scene|>"
    EVENT = "<|event|>"
    VOCAL_CLASSIFICATION = "<|vocal_classification|>"
    SPEECH_UNDERSTANDING = "<|speech_understanding|>"
    SCENARIO = "<|scenario|>"
    ACTION = "<|action|>"
    ENTITIES = "<|entities|>"
    SPEECH_EDIT = "<|speech_edit|>"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class TimeTag:
    """A moment inside the clip, such as ``<|2.33|>``; ``centiseconds`` runs from 0 to 3,000."""

    centiseconds: int

    def __post_init__(self) -> None:
        if not 0 <= self.centiseconds <= LAST_TIME_CENTISECONDS:
            raise UnknownTag(f"no time tag for {self.centiseconds / 100:.2f} s: they run from 0.00 to 30.00")

    def __str__(self) -> str:
        return f"<|{self.centiseconds / 100:.2f}|>"


TIME_TAG = re.compile(r"<\|(\d{1,2}\.\d\d)\|>")
"""How a time tag is spelled; the group is its seconds."""

LANGUAGES: dict[str, Tag] = {
    tag.value[2:-2]: tag for tag in (Tag.EN, Tag.ZH, Tag.DE, Tag.ES, Tag.KO, Tag.FR, Tag.JA, Tag.IT)
}
"""The eight languages that Qwen-Audio was trained on, by code."""


def language_tag(code: str) -> Tag:
    """Return the tag of a language code such as ``en``; raises ``UnknownTag`` with the list of those that exist."""
    try:
        return LANGUAGES[code]
    except KeyError:
        raise UnknownTag(f"no language tag {code!r}: choose one of {', '.join(LANGUAGES)}") from None


def parse_tag(text: str) -> Tag:
    """Return the tag spelled ``text``; raises ``UnknownTag``, also for the official README's misspelling."""
    try:
        return Tag(text)
    except ValueError:
        raise UnknownTag(f"{text!r} is not a control token of Qwen-Audio") from None


@dataclass(frozen=True)
class Prompt:
    """What follows the audio: control tokens, time tags, and plain text that can never become a control token."""

    parts: tuple[Tag | TimeTag | str, ...]

    def __str__(self) -> str:
        """Spell the prompt for logs and stored requests; not what is tokenised."""
        return "".join(str(part) for part in self.parts)
