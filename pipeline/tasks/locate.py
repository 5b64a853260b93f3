"""Find where a word or a phrase is spoken, by the word times of the transcript."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import groupby

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Annotation, Findings, Part, Segment, Summary, Word
from pipeline.tasks.questions import HeardChunk, Hearing
from pipeline.tasks.task import AnyLanguage, Task, TaskOptions
from pipeline.tasks.text import visible
from pipeline.tasks.transcribe import Transcribe, TranscribeOptions
from qwen_audio.tags import Prompt

MAX_PHRASE_CHARACTERS = 200
_SPOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+(?:'[^\W_\u3400-\u9fff]+)*")


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
        phrase = visible(value)
        if not spoken_form(phrase):
            raise PydanticCustomError("empty_text", "the phrase holds no word")
        if len(phrase) > MAX_PHRASE_CHARACTERS:  # composing can lengthen a text
            raise PydanticCustomError(
                "long_text", "the phrase may have {most} characters", {"most": MAX_PHRASE_CHARACTERS}
            )
        return phrase


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
    plain = unicodedata.normalize("NFC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return tuple(_SPOKEN.findall(plain))


def _as_transcript(options: LocateOptions) -> TranscribeOptions:
    return TranscribeOptions(language=options.language, timestamps="word")


def _matches(
    channel: int, words: Sequence[tuple[Word, Segment]], wanted: tuple[str, ...], phrase: str
) -> Iterator[Annotation]:
    """Yield every run of words that is the phrase; a timed word can hold several spoken ones."""
    pieces = [(piece, place) for place, (word, _) in enumerate(words) for piece in spoken_form(word.text)]
    said = tuple(piece for piece, _ in pieces)
    for start in range(len(said) - len(wanted) + 1):
        if said[start : start + len(wanted)] == wanted:
            first, last = pieces[start][1], pieces[start + len(wanted) - 1][1]
            yield _annotation(channel, words[first : last + 1], phrase)


def _annotation(channel: int, run: Sequence[tuple[Word, Segment]], phrase: str) -> Annotation:
    """Return the place of the words; as sure as the least sure of them."""
    (first, segment), (last, _) = run[0], run[-1]
    known = [word.confidence for word, _ in run if word.confidence is not None]
    return Annotation(
        task=Locate.name,
        channel=channel,
        index=0,  # numbered when the recording is stitched
        start_sample=first.start_sample,
        end_sample=last.end_sample,
        label=phrase,
        text=segment.text,
        data={"confidence": min(known, default=None), "avg_logprob": segment.avg_logprob},
        flags=segment.flags,
    )
