"""Find where a word or a phrase is spoken: by the word times of the transcript, or by asking the Chat model."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from typing import ClassVar, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.chat import converse
from pipeline.tasks.findings import (
    SAMPLES_PER_SECOND,
    Annotation,
    Findings,
    Part,
    Segment,
    Summary,
    Word,
)
from pipeline.tasks.grounding import MAX_PLACES, grounding_question, read_places, words_inside
from pipeline.tasks.parsed import Flag, confidence
from pipeline.tasks.questions import HeardChunk, Hearing
from pipeline.tasks.task import AnyLanguage, ModelKind, Task, TaskOptions
from pipeline.tasks.text import SPOKEN_WORD, visible
from pipeline.tasks.transcribe import WORD_TOKENS_PER_SECOND, Transcribe, TranscribeOptions
from qwen_audio.tags import Prompt

MAX_PHRASE_CHARACTERS = 200
MAX_PAUSE_SAMPLES = 2 * SAMPLES_PER_SECOND  # between two words of a phrase: further apart they are none


class LocateOptions(TaskOptions):
    """What to look for."""

    phrase: str = Field(
        min_length=1,
        max_length=MAX_PHRASE_CHARACTERS,
        description="The word or phrase to find, as it is spoken, with pauses of 2 s at most; case and punctuation do "
        "not matter.",
        examples=["thank you"],
    )
    language: AnyLanguage = Field("auto", description="The language that is spoken; `auto` asks the model.")
    by: Literal["words", "chat", "chat_kind"] = Field(
        "words",
        description="`words`: compare the phrase with the transcript's words. `chat`: ask the Chat model where it is. "
        "`chat_kind`: the phrase is a kind of name, such as `person name`, that the Chat model looks for. What it says "
        "is checked against the word times, and flagged `unchecked` where they do not confirm it.",
    )

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
    """Every place of a phrase. Parsed as the transcript with word times, whose answers it shares, and ``places``."""

    name = "locate"
    title = "Place of a phrase"
    description = (
        "Where a word, phrase or kind of name is spoken: by the word times of the transcript, whose work it shares "
        "(where a language has none, the utterance that holds it), or by the Chat model, checked against them."
    )
    prompt_version = 2
    cost = "as a transcript with word times, nothing beside one"
    heard = "chunks with speech"
    view = "places"
    limits: ClassVar[Mapping[str, int]] = {
        "phrase_characters": MAX_PHRASE_CHARACTERS,
        "tokens_per_second": WORD_TOKENS_PER_SECOND,
        "chat_places": MAX_PLACES,
    }
    example = {"phrase": "thank you"}  # noqa: RUF012  # never changed
    Options = LocateOptions

    def prompt(self, options: LocateOptions) -> Prompt:
        """Return the prompt of the transcript."""
        return Transcribe().prompt(_as_transcript(options))

    def model_for(self, options: LocateOptions) -> ModelKind:
        """Grounding by questions is the Chat model's."""
        return ModelKind.BASE if options.by == "words" else ModelKind.CHAT

    def applies(self, speech_samples: int, options: LocateOptions) -> bool:
        """Ask only where somebody speaks."""
        return speech_samples > 0

    def hear(self, chunk: HeardChunk, options: LocateOptions) -> Hearing:
        """Transcribe with word times, and ask Chat where it is."""
        parsed = yield from Transcribe().hear(chunk, _as_transcript(options))
        if options.by == "words":
            return parsed
        question = grounding_question(options.phrase, is_kind=options.by == "chat_kind")
        ((_, answer, flags),) = yield from converse([question])
        places = [
            {**place, "avg_logprob": confidence(answer), "flags": [str(flag) for flag in flags]}
            for place in read_places(answer, chunk.samples)
        ]
        return {**parsed, "places": places}

    def merge(self, parts: Sequence[Part], options: LocateOptions) -> Findings:
        """Look for the phrase in the words of each channel, after the seams are settled: it may lie across one.

        Places that Chat named belong to the chunk that owns their middle.
        """
        transcript = Transcribe().merge(parts, _as_transcript(options))
        wanted = spoken_form(options.phrase)
        found: list[Annotation] = []
        by_channel = sorted(transcript.segments, key=lambda one: (one.channel, one.start_sample))
        for channel, group in groupby(by_channel, key=lambda one: one.channel):
            segments = list(group)
            words = [(word, segment) for segment in segments for word in segment.words]
            if options.by == "words":
                found.extend(_matches(channel, words, wanted, options.phrase))
                found.extend(_utterances_with(segments, wanted, options.phrase))
            else:
                own = [part for part in parts if part.channel == channel]
                found.extend(_grounded(own, [word for word, _ in words], options))
        summary = Summary(label=options.phrase, text=options.phrase, data={"count": len(found)})
        return Findings(annotations=tuple(found), summary=summary)


def spoken_form(text: str) -> tuple[str, ...]:
    """Return the words of a text as they are compared: Chinese, which is timed by character, character by character."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    return tuple(SPOKEN_WORD.findall(plain))


def _as_transcript(options: LocateOptions) -> TranscribeOptions:
    return TranscribeOptions(language=options.language, timestamps="word")


def _matches(
    channel: int, words: Sequence[tuple[Word, Segment]], wanted: tuple[str, ...], phrase: str
) -> Iterator[Annotation]:
    """Yield every run of words that is the phrase; a timed word can hold several spoken ones."""
    pieces = [(piece, place) for place, (word, _) in enumerate(words) for piece in spoken_form(word.text)]
    said = tuple(piece for piece, _ in pieces)
    for start in _places_of(wanted, said):
        first, last = pieces[start][1], pieces[start + len(wanted) - 1][1]
        run = words[first : last + 1]
        pauses = (right.start_sample - left.end_sample for (left, _), (right, _) in pairwise(run))
        if max(pauses, default=0) <= MAX_PAUSE_SAMPLES:
            yield _annotation(channel, run, phrase)


def _places_of(wanted: tuple[str, ...], said: tuple[str, ...]) -> Iterator[int]:
    """Yield where the wanted words begin among those that were said."""
    for start in range(len(said) - len(wanted) + 1):
        if said[start : start + len(wanted)] == wanted:
            yield start


def _utterances_with(
    segments: Sequence[Segment], wanted: tuple[str, ...], phrase: str
) -> Iterator[Annotation]:
    """Yield every utterance without word times that holds the phrase, as a whole; its flags say that it has none."""
    for segment in segments:
        said = () if segment.words else spoken_form(segment.text)
        if next(_places_of(wanted, said), None) is not None:
            whole = Word(segment.text, segment.start_sample, segment.end_sample)
            yield _annotation(segment.channel, [(whole, segment)], phrase)


def _grounded(parts: Sequence[Part], words: Sequence[Word], options: LocateOptions) -> Iterator[Annotation]:
    """Yield every place that Chat named, with the words that stand there; flagged where they are not the phrase."""
    wanted = spoken_form(options.phrase)
    for part in parts:
        for place in (part.parsed or {}).get("places", ()):
            start, end = (part.heard_start + place[name] for name in ("start_sample", "end_sample"))
            if not part.owned_start <= (start + end) // 2 < part.owned_end:
                continue
            inside = words_inside(words, start, end)
            said = tuple(piece for word in inside for piece in spoken_form(word.text))
            is_kind = options.by == "chat_kind"
            flags = (
                place["flags"]
                if inside and (is_kind or said == wanted)
                else [*place["flags"], str(Flag.UNCHECKED)]
            )
            yield Annotation(
                task=Locate.name,
                channel=part.channel,
                index=0,  # numbered when the recording is stitched
                start_sample=start,
                end_sample=end,
                label=options.phrase,
                text=" ".join(word.text for word in inside) or place["text"] or options.phrase,
                data={"confidence": None, "avg_logprob": place["avg_logprob"]},
                flags=tuple(flags),
            )


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
