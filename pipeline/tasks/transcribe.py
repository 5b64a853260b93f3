"""Transcribe speech: as words with their times, as utterances, or as text per chunk."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Findings, Part, Segment, Span, Summary, Word
from pipeline.tasks.guards import compression_ratio, is_invented, is_loop
from pipeline.tasks.hearing_language import FoundLanguage, find_language, no_speech_question, probability
from pipeline.tasks.parsed import Flag, Parsed, confidence, ending_flags
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.seams import settle
from pipeline.tasks.task import AnyLanguage, Task, TaskOptions
from pipeline.tasks.text import has_control_token, has_letters, join_words, readable
from pipeline.tasks.utterances import utterances
from pipeline.tasks.windows import halves, speech_windows
from pipeline.tasks.word_times import parse_word_times
from qwen_audio.answers import Answer
from qwen_audio.tags import Prompt, Tag, TimeTag, language_tag

LANGUAGES_WITH_WORD_TIMES = ("en", "zh")  # what the model was trained on, 10,000 h and 11,000 h
TEXT_TOKENS_PER_SECOND = 8  # fast speech is 5 characters or 4 words a second
WORD_TOKENS_PER_SECOND = 16  # a stamp for every word, and one for every pause
MIN_LIMIT = 32

Timestamps = Literal["word", "segment", "none"]


class TranscribeOptions(TaskOptions):
    """What to ask of a transcript."""

    language: AnyLanguage = Field(
        "auto", description="The language that is spoken; `auto` asks the model, chunk by chunk."
    )
    timestamps: Timestamps = Field(
        "word",
        description="`word`: every word with its start and end, where the model was trained on them, in `en` and "
        "`zh`; in other languages as `segment`, flagged `timestamps_unavailable`. `segment`: every utterance of the "
        "speech map is heard by itself. `none`: text per chunk of at most 30 s, the form that the published error "
        "rates were measured in.",
    )
    itn: bool = Field(
        False,
        description="Write numbers, dates and amounts as figures (inverse text normalisation); only with "
        "`timestamps` `segment` or `none`.",
    )

    @field_validator("itn")
    @classmethod
    def _figures_have_no_word_times(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("timestamps") == "word":
            raise PydanticCustomError(
                "unsupported_itn",
                "the model writes figures only without word times: use timestamps 'segment' or 'none'",
            )
        return value


@dataclass(frozen=True)
class _Said:
    """What one answer says about a window: words in samples from the heard start, or text alone."""

    window: Span
    text: str
    words: tuple[Word, ...]
    answer: Answer
    flags: tuple[Flag, ...] = ()
    no_speech_prob: float | None = None
    is_dropped: bool = field(default=False)


class Transcribe(Task[TranscribeOptions]):
    """Speech to text.

    Parsed: ``language``, ``language_probabilities``, ``text``, ``words`` (``text``, ``start_sample``, ``end_sample``,
    ``confidence``), ``utterances`` (``start_sample``, ``end_sample``, ``text``, scores and ``flags``), ``avg_logprob``,
    ``compression_ratio``, ``no_speech_prob``, ``flags``.
    """

    name = "transcribe"
    title = "Transcript"
    description = (
        "What is said and when, in one of eight languages: word by word in English and Chinese, else utterance by "
        "utterance."
    )
    prompt_version = 2
    cost = "about 16 tokens a second of audio with word times, 8 without"
    example = {"language": "en", "timestamps": "word"}  # noqa: RUF012  # never changed
    Options = TranscribeOptions

    def prompt(self, options: TranscribeOptions) -> Prompt:
        """Return the official ASR prompt, or SRWT's, which ends with the time of the clip's start.

        ``auto`` must have been found by now: here it stands for English.
        """
        language = language_tag("en" if options.language == "auto" else options.language)
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

    def hear(self, chunk: HeardChunk, options: TranscribeOptions) -> Hearing:
        """Find the language, ask for words or utterances, and hear loops once more in shorter pieces."""
        language = yield from find_language(options.language)
        asked, flags = _settled(options, language)
        windows = [(0, chunk.samples)] if asked.timestamps != "segment" else speech_windows(chunk)
        said = yield from self._transcribe(chunk, windows, asked)
        loops = [place for place, one in enumerate(said) if Flag.LOOP in one.flags]
        if loops and windows == [(0, chunk.samples)]:
            again = yield from self._transcribe(chunk, list(halves(chunk)), asked)
            if len([one for one in again if Flag.LOOP in one.flags]) < len(again):
                said = again
        return _parsed(said, language, asked, flags)

    def _transcribe(
        self, chunk: HeardChunk, windows: Sequence[Span], options: TranscribeOptions
    ) -> Generator[Sequence[Question], Sequence[Answer], list[_Said]]:
        plain = self.prompt(options.model_copy(update={"timestamps": "none", "itn": False}))
        whole = (0, chunk.samples)
        places = [None if window == whole else window for window in windows]
        doubts = [replace(no_speech_question(plain), window=place) for place in places]
        questions = [
            Question(self.prompt(options), self.limit(options, chunk.seconds_of(place)), place)
            for place in places
        ]
        answers = yield from ask_patiently([*questions, *doubts])
        pairs = zip(windows, answers[: len(windows)], answers[len(windows) :], strict=True)
        return [_read(window, answer, probability(doubt), options) for window, answer, doubt in pairs]

    def parse(self, answer: Answer, heard_samples: int, options: TranscribeOptions) -> Parsed:
        """Return what one answer about a whole clip says; for evaluation."""
        language = FoundLanguage(options.language, True, {})
        said = _read((0, heard_samples), answer, None, options)
        return _parsed([said], language, options, [])

    def merge(self, parts: Sequence[Part], options: TranscribeOptions) -> Findings:
        """Cut timed words into utterances, after the seams are settled; utterances without words belong to the part
        that owns their middle; text without times is one segment a chunk.
        """
        segments: list[Segment] = []
        for _, group in groupby(parts, key=lambda part: part.channel):
            channel = list(group)
            words = settle(channel, [_timeline_words(part) for part in channel])
            for part, own in zip(channel, words, strict=True):
                segments.extend(_segments(part, own))
        return Findings(segments=tuple(segments), summary=_summary(segments))


def _settled(options: TranscribeOptions, language: FoundLanguage) -> tuple[TranscribeOptions, list[Flag]]:
    """Return what is asked now that the language is known, and what to know about it."""
    flags = [] if language.is_known else [Flag.UNKNOWN_LANGUAGE]
    asked = options.model_copy(update={"language": language.code})
    if options.timestamps == "word" and language.code not in LANGUAGES_WITH_WORD_TIMES:
        return asked.model_copy(update={"timestamps": "segment"}), [*flags, Flag.TIMESTAMPS_UNAVAILABLE]
    return asked, flags


def _read(window: Span, answer: Answer, no_speech_prob: float | None, options: TranscribeOptions) -> _Said:
    """Read one answer; its words are moved to their place in the chunk."""
    flags: list[Flag] = []
    words: list[Word] = []
    if options.timestamps == "word":
        found, flags = parse_word_times(answer.text, window[1] - window[0], answer.starts, answer.logprobs)
        words = [
            replace(one, start_sample=one.start_sample + window[0], end_sample=one.end_sample + window[0])
            for one in found
        ]
    elif has_control_token(answer.text):
        flags = [Flag.STRAY_TAGS]
    text = (
        join_words((word.text for word in words), options.language)
        if words
        else readable(answer.text, options.language)
    )
    if options.timestamps == "word" and text and not words:
        flags = [*flags, Flag.MISSING_TIMES]
    if not has_letters(text):
        flags = [*flags, Flag.UNPARSED if text or flags else Flag.EMPTY]
    ending = ending_flags(answer)
    if is_loop(answer, text) and Flag.LOOP not in ending:
        ending.append(Flag.LOOP)
    flags = [*flags, *ending]
    if has_letters(text) and is_invented(answer, no_speech_prob):
        return _Said(window, "", (), answer, (*flags, Flag.NO_SPEECH), no_speech_prob, is_dropped=True)
    return _Said(window, text, tuple(words), answer, tuple(flags), no_speech_prob)


def _parsed(
    said: Sequence[_Said], language: FoundLanguage, options: TranscribeOptions, flags: Sequence[Flag]
) -> Parsed:
    heard = [one for one in said if has_letters(one.text)]
    text = join_words((one.text for one in heard), language.code)
    logprobs = [logprob for one in said for logprob in one.answer.logprobs]
    doubts = [one.no_speech_prob for one in said if one.no_speech_prob is not None]
    # One empty utterance among others is no news; where all are empty, that is.
    shown = [flag for one in said for flag in one.flags if heard == [] or flag is not Flag.EMPTY]
    return {
        "language": language.code,
        "language_probabilities": dict(language.probabilities),
        "text": text,
        "words": [asdict(word) for one in heard for word in one.words],
        "utterances": [] if options.timestamps != "segment" else [_utterance(one) for one in heard],
        "avg_logprob": _mean(logprobs),
        "compression_ratio": compression_ratio(text),
        "no_speech_prob": min(doubts, default=None),
        "flags": [str(flag) for flag in dict.fromkeys([*flags, *shown])],
    }


def _utterance(said: _Said) -> dict[str, Any]:
    return {
        "start_sample": said.window[0],
        "end_sample": said.window[1],
        "text": said.text,
        "avg_logprob": confidence(said.answer),
        "compression_ratio": compression_ratio(said.text),
        "no_speech_prob": said.no_speech_prob,
        "flags": [str(flag) for flag in said.flags],
    }


def _mean(values: Sequence[float]) -> float | None:
    if not values:
        return None
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else None


def _timeline_words(part: Part) -> list[Word]:
    """Return a part's words, moved from the heard start to their place in the recording."""
    if part.parsed is None:
        return []
    return [
        Word(
            word["text"],
            part.heard_start + word["start_sample"],
            part.heard_start + word["end_sample"],
            word["confidence"],
        )
        for word in part.parsed["words"]
    ]


def _segments(part: Part, words: Sequence[Word]) -> Iterator[Segment]:
    if part.parsed is None or not has_letters(part.parsed["text"]):
        return
    parsed = part.parsed
    language = parsed["language"]
    scores = {name: parsed[name] for name in ("avg_logprob", "compression_ratio", "no_speech_prob")}
    flags = tuple(parsed["flags"])
    if parsed["utterances"]:
        yield from _utterance_segments(part)
    elif not parsed["words"]:
        start, end = part.speech_extent
        yield Segment(part.channel, 0, start, end, parsed["text"], language, **scores, flags=flags)
    for run in utterances(words):
        text = join_words((word.text for word in run), language)
        start, end = run[0].start_sample, run[-1].end_sample
        own = {**scores, "compression_ratio": compression_ratio(text)}
        yield Segment(part.channel, 0, start, end, text, language, tuple(run), **own, flags=flags)


def _utterance_segments(part: Part) -> Iterator[Segment]:
    assert part.parsed is not None
    of_all = {Flag.TIMESTAMPS_UNAVAILABLE, Flag.UNKNOWN_LANGUAGE} & set(part.parsed["flags"])
    for one in part.parsed["utterances"]:
        start, end = part.heard_start + one["start_sample"], part.heard_start + one["end_sample"]
        if not part.owns((start + end) // 2):
            continue
        yield Segment(
            part.channel,
            0,
            start,
            end,
            one["text"],
            part.parsed["language"],
            avg_logprob=one["avg_logprob"],
            compression_ratio=one["compression_ratio"],
            no_speech_prob=one["no_speech_prob"],
            flags=tuple(dict.fromkeys([*sorted(map(str, of_all)), *one["flags"]])),
        )


def _summary(segments: Sequence[Segment]) -> Summary:
    """Count what was said, and name the language that was spoken longest."""
    spoken: dict[str, int] = {}
    for one in segments:
        spoken[one.language] = spoken.get(one.language, 0) + one.end_sample - one.start_sample
    total = sum(spoken.values())
    label = max(sorted(spoken), key=spoken.__getitem__, default=None)
    return Summary(
        label=label,
        confidence=round(spoken[label] / total, 4) if label is not None and total else None,
        data={
            "segments": len(segments),
            "words": sum(len(one.words) or len(one.text.split()) for one in segments),
            "spoken_ms": total // 16,
            "spoken_ms_by_language": {code: value // 16 for code, value in sorted(spoken.items())},
        },
    )
