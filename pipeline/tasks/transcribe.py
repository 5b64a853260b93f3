"""Transcribe speech, as text or as words with their times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Findings, Part, Segment, Word
from pipeline.tasks.seams import settle
from pipeline.tasks.task import Flag, Language, Parsed, Task, TaskOptions, confidence, ending_flags
from pipeline.tasks.text import has_control_token, has_letters, join_words, readable
from pipeline.tasks.utterances import utterances
from pipeline.tasks.word_times import parse_word_times
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt, Tag, TimeTag, language_tag

LANGUAGES_WITH_WORD_TIMES = ("en", "zh")  # what the model was trained on, 10,000 h and 11,000 h
TEXT_TOKENS_PER_SECOND = 8  # fast speech is 5 characters or 4 words a second
WORD_TOKENS_PER_SECOND = 16  # a stamp for every word, and one for every pause
MIN_LIMIT = 32


class TranscribeOptions(TaskOptions):
    """What to ask of a transcript."""

    language: Language = Field("en", description="The language that is spoken.")
    timestamps: Literal["none", "word"] = Field(
        "none",
        description="`none`: text per chunk of at most 30 s, the form that the published error rates were measured "
        "in. `word`: every word with its start and end, for `en` and `zh`; about twice the work.",
    )
    itn: bool = Field(
        False,
        description="Write numbers, dates and amounts as figures (inverse text normalisation); only with "
        "`timestamps: none`.",
    )

    @field_validator("timestamps")
    @classmethod
    def _words_need_a_trained_language(cls, value: str, info: ValidationInfo) -> str:
        language = info.data.get("language", "en")  # absent when it was refused itself
        if value == "word" and language not in LANGUAGES_WITH_WORD_TIMES:
            raise PydanticCustomError(
                "unsupported_timestamps",
                "word times exist for {languages} only: use timestamps 'none' for {language}",
                {"languages": " and ".join(LANGUAGES_WITH_WORD_TIMES), "language": language},
            )
        return value

    @field_validator("itn")
    @classmethod
    def _figures_have_no_word_times(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("timestamps") == "word":
            raise PydanticCustomError(
                "unsupported_itn", "the model writes figures only without word times: use timestamps 'none'"
            )
        return value


class Transcribe(Task[TranscribeOptions]):
    """Speech to text.

    Parsed: ``text``, ``words`` (each ``text``, ``start_sample``, ``end_sample``), ``avg_logprob``, ``flags``.
    """

    name = "transcribe"
    title = "Transcript"
    description = "What is said, in one of eight languages; for English and Chinese also when, word by word."
    prompt_version = 1
    Options = TranscribeOptions

    def prompt(self, options: TranscribeOptions) -> Prompt:
        """Return the official ASR prompt, or SRWT's, which ends with the time of the clip's start."""
        language = language_tag(options.language)
        head = (Tag.START_OF_TRANSCRIPT, language, Tag.TRANSCRIBE, language)
        if options.timestamps == "word":
            return Prompt((*head, Tag.TIMESTAMPS, TimeTag(0)))
        return Prompt((*head, Tag.NO_TIMESTAMPS, Tag.ITN if options.itn else Tag.WITHOUT_ITN))

    def limit(self, options: TranscribeOptions, heard_seconds: float) -> int:
        """Return a limit that follows the seconds heard; the official 256 would cut half a minute of word times."""
        rate = WORD_TOKENS_PER_SECOND if options.timestamps == "word" else TEXT_TOKENS_PER_SECOND
        return max(MIN_LIMIT, math.ceil(rate * heard_seconds))

    def applies(self, speech_samples: int, options: TranscribeOptions) -> bool:
        """Ask only where somebody speaks: on silence the model makes words up."""
        return speech_samples > 0

    def parse(self, answer: Answer, heard_samples: int, options: TranscribeOptions) -> Parsed:
        """Return text and, where asked for, words in samples from the heard start."""
        if options.timestamps == "word":
            words, flags = parse_word_times(answer.text, heard_samples)
        else:
            words, flags = [], [Flag.STRAY_TAGS] if has_control_token(answer.text) else []
        text = (
            join_words((word.text for word in words), options.language)
            if words
            else readable(answer.text, options.language)
        )
        if options.timestamps == "word" and text and not words:
            flags = [*flags, Flag.MISSING_TIMES]
        if not has_letters(text):
            flags = [*flags, Flag.UNPARSED if text or flags else Flag.EMPTY]
        return {
            "text": text,
            "words": [
                {"text": word.text, "start_sample": word.start_sample, "end_sample": word.end_sample}
                for word in words
            ],
            "avg_logprob": confidence(answer),
            "flags": [str(flag) for flag in (*flags, *ending_flags(answer))],
        }

    def merge(self, parts: Sequence[Part], options: TranscribeOptions) -> Findings:
        """Cut timed words into utterances, after the seams are settled; text without times is one segment a chunk."""
        segments: list[Segment] = []
        for _, group in groupby(parts, key=lambda part: part.channel):
            channel = list(group)
            for part, words in zip(
                channel, settle(channel, [_timeline_words(p) for p in channel]), strict=True
            ):
                segments.extend(_segments(part, words, options.language))
        return Findings(segments=tuple(segments))


def _timeline_words(part: Part) -> list[Word]:
    """Return a part's words, moved from the heard start to their place in the recording."""
    if part.parsed is None:
        return []
    return [
        Word(word["text"], part.heard_start + word["start_sample"], part.heard_start + word["end_sample"])
        for word in part.parsed["words"]
    ]


def _segments(part: Part, words: Sequence[Word], language: str) -> Iterator[Segment]:
    if part.parsed is None or not has_letters(part.parsed["text"]):
        return
    flags = tuple(part.parsed["flags"])
    avg_logprob = part.parsed["avg_logprob"]
    if not part.parsed["words"]:
        start, end = part.speech_extent
        yield Segment(
            part.channel, 0, start, end, part.parsed["text"], language, avg_logprob=avg_logprob, flags=flags
        )
    for run in utterances(words):
        text = join_words((word.text for word in run), language)
        start, end = run[0].start_sample, run[-1].end_sample
        yield Segment(part.channel, 0, start, end, text, language, tuple(run), avg_logprob, flags)
