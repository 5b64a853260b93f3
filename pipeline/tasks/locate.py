"""Find where a word or a phrase is spoken, by the word times of the transcript."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import groupby

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Annotation, Findings, Part, Segment, Summary, Word
from pipeline.tasks.questions import HeardChunk, Hearing
from pipeline.tasks.task import AnyLanguage, Task, TaskOptions
from pipeline.tasks.transcribe import Transcribe, TranscribeOptions
from qwen_audio.tags import Prompt

MAX_PHRASE_CHARACTERS = 200
_NOT_SPOKEN = re.compile(r"[^\w']+")


class LocateOptions(TaskOptions):
    """What to look for."""

    phrase: str = Field(
        min_length=1,
        max_length=MAX_PHRASE_CHARACTERS,
        description="The word or phrase to find, as it is spoken; case and punctuation do not matter.",
        examples=["thank you"],
    )
    language: AnyLanguage = Field("auto", description="The language that is spoken; `auto` asks the model.")

    @field_validator("phrase")
    @classmethod
    def _has_words(cls, value: str) -> str:
        if not spoken_form(value):
            raise PydanticCustomError("empty_text", "the phrase holds no word")
        return " ".join(unicodedata.normalize("NFC", value).split())


class Locate(Task[LocateOptions]):
    """Every place of a phrase. Parsed as the transcript with word times, whose answers it shares."""

    name = "locate"
    title = "Place of a phrase"
    description = (
        "Where a word or phrase is spoken, by the word times of the transcript (English and Chinese); shares the work "
        "of a transcript that is asked for in the same job."
    )
    prompt_version = 1
    cost = "as a transcript with word times, nothing beside one"
    example = {"phrase": "thank you"}  # noqa: RUF012  # never changed
    Options = LocateOptions

    def prompt(self, options: LocateOptions) -> Prompt:
        """Return the prompt of the transcript."""
        return Transcribe().prompt(_as_transcript(options))

    def applies(self, speech_samples: int, options: LocateOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def hear(self, chunk: HeardChunk, options: LocateOptions) -> Hearing:
        """Transcribe with word times."""
        return (yield from Transcribe().hear(chunk, _as_transcript(options)))

    def merge(self, parts: Sequence[Part], options: LocateOptions) -> Findings:
        """Look for the phrase in the words of each channel, after the seams are settled: it may lie across one."""
        transcript = Transcribe().merge(parts, _as_transcript(options))
        wanted = spoken_form(options.phrase)
        found: list[Annotation] = []
        by_channel = sorted(transcript.segments, key=lambda one: (one.channel, one.start_sample))
        for channel, group in groupby(by_channel, key=lambda one: one.channel):
            words = [(word, segment) for segment in group for word in segment.words]
            found.extend(_matches(channel, words, wanted, options.phrase))
        summary = Summary(label=options.phrase, text=options.phrase, data={"count": len(found)})
        return Findings(annotations=tuple(found), summary=summary)


def spoken_form(text: str) -> tuple[str, ...]:
    """Return the words of a text as they are compared: Chinese, which is timed by character, character by character."""
    words = _NOT_SPOKEN.sub(" ", unicodedata.normalize("NFC", text).casefold()).split()
    return tuple(piece for word in words for piece in (word if _is_chinese(word) else [word]))


def _is_chinese(word: str) -> bool:
    return any("\u4e00" <= char <= "\u9fff" for char in word)


def _as_transcript(options: LocateOptions) -> TranscribeOptions:
    return TranscribeOptions(language=options.language, timestamps="word")


def _matches(
    channel: int, words: Sequence[tuple[Word, Segment]], wanted: tuple[str, ...], phrase: str
) -> list[Annotation]:
    # A timed word can hold several spoken ones, and a Chinese word is several characters.
    pieces = [(piece, place) for place, (word, _) in enumerate(words) for piece in spoken_form(word.text)]
    said = [piece for piece, _ in pieces]
    found = []
    for start in range(len(said) - len(wanted) + 1):
        if tuple(said[start : start + len(wanted)]) != wanted:
            continue
        first, last = words[pieces[start][1]], words[pieces[start + len(wanted) - 1][1]]
        sure = [
            word.confidence for word, _ in words[pieces[start][1] : pieces[start + len(wanted) - 1][1] + 1]
        ]
        known = [value for value in sure if value is not None]
        found.append(
            Annotation(
                task=Locate.name,
                channel=channel,
                index=0,
                start_sample=first[0].start_sample,
                end_sample=last[0].end_sample,
                label=phrase,
                text=first[1].text,
                data={"confidence": min(known, default=None), "avg_logprob": first[1].avg_logprob},
                flags=first[1].flags,
            )
        )
    return found
