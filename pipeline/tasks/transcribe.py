"""Transcribe speech: as words with their times, as utterances, or as text per chunk."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from pipeline.tasks.findings import Findings, Part, Span, Word
from pipeline.tasks.guards import compression_ratio, is_invented, is_loop
from pipeline.tasks.hearing_language import (
    FoundLanguage,
    doubtful_second,
    find_language,
    no_speech_question,
    probability,
)
from pipeline.tasks.overlaps import pieces, settle_windows
from pipeline.tasks.parsed import Flag, Parsed, confidence, ending_flags, mean_logprob
from pipeline.tasks.prompts import transcript_prompt
from pipeline.tasks.questions import HeardChunk, Hearing, Question, ask_patiently
from pipeline.tasks.task import AnyLanguage, Task, TaskOptions
from pipeline.tasks.text import has_control_token, has_letters, join_words, readable
from pipeline.tasks.transcript_segments import segments_of, settle_languages, summary_of
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


class Transcribe(Task[TranscribeOptions]):
    """Speech to text.

    Where two languages are likely, both are heard: the second stands in ``alternative``, and when the recording is put
    together the neighbouring chunks decide between them.

    Parsed: ``language``, ``language_probabilities``, ``alternative`` (None, or the same again), ``text``, ``words``
    (``text``, ``start_sample``, ``end_sample``, ``confidence``), ``utterances`` (``start_sample``, ``end_sample``,
    ``text``, scores and ``flags``), ``avg_logprob``, ``compression_ratio``, ``no_speech_prob``, ``flags``.
    """

    name = "transcribe"
    title = "Transcript"
    description = (
        "What is said and when, in one of eight languages: word by word in English and Chinese, else utterance by "
        "utterance."
    )
    prompt_version = 3
    cost = "about 16 tokens a second of audio with word times, 8 without"
    heard = "chunks with speech"
    view = "segments"
    limits: ClassVar[Mapping[str, int]] = {
        "tokens_per_second_with_word_times": WORD_TOKENS_PER_SECOND,
        "tokens_per_second": TEXT_TOKENS_PER_SECOND,
    }
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
        first = yield from self._hear_in(language, chunk, options)
        second = doubtful_second(language)
        if second is None:
            return {**first, "alternative": None}
        other = FoundLanguage(second, language.is_known, language.probabilities)
        alternative = yield from self._hear_in(other, chunk, options)
        return {**first, "alternative": alternative}

    def _hear_in(self, language: FoundLanguage, chunk: HeardChunk, options: TranscribeOptions) -> Hearing:
        """Transcribe the chunk as speech of one language."""
        asked, flags = _settled(options, language)
        said = yield from self._transcribe(chunk, _windows(chunk, asked), asked)
        said = yield from self._without_loops(chunk, said, asked)
        return _parsed(_settled_words(said, asked), language, asked, flags)

    def _without_loops(
        self, chunk: HeardChunk, said: Sequence[_Said], options: TranscribeOptions
    ) -> Generator[Sequence[Question], Sequence[Answer], list[_Said]]:
        """Hear every loop once more in two halves, and keep them unless both loop too."""
        kept: list[_Said] = []
        for one in said:
            shorter = halves(chunk, one.window) if Flag.LOOP in one.flags else ()
            again = yield from self._transcribe(chunk, shorter, options)
            is_better = any(Flag.LOOP not in half.flags for half in again)
            kept.extend(again if is_better else [one])
        return kept

    def _transcribe(
        self, chunk: HeardChunk, windows: Sequence[Span], options: TranscribeOptions
    ) -> Generator[Sequence[Question], Sequence[Answer], list[_Said]]:
        """Ask what is said in each window, and how likely nobody speaks there."""
        plain = transcript_prompt(options.language)
        places = [chunk.window(window) for window in windows]
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
        return {**_parsed([said], language, options, []), "alternative": None}

    def merge(self, parts: Sequence[Part], options: TranscribeOptions) -> Findings:
        """Settle languages and seams and cut segments; the summary names the language that was spoken longest."""
        segments = segments_of(settle_languages(parts))
        return Findings(segments=tuple(segments), summary=summary_of(segments))


def _windows(chunk: HeardChunk, options: TranscribeOptions) -> Sequence[Span]:
    """Return what is heard at once. Only words with times can be told apart where two chunks hear the same audio, so
    text is asked for what the chunk owns. A model that follows short clips only hears utterances.
    """
    if options.timestamps == "word":
        if chunk.clip_samples is None or chunk.samples <= chunk.clip_samples:
            return [(0, chunk.samples)]
        return pieces(speech_windows(replace(chunk, owned=None), chunk.clip_samples), chunk.clip_samples)
    return speech_windows(chunk) if options.timestamps == "segment" else [chunk.own]


def _settled(options: TranscribeOptions, language: FoundLanguage) -> tuple[TranscribeOptions, list[Flag]]:
    """Return what is asked now that the language is known, and what to know about it."""
    flags = [] if language.is_known else [Flag.UNKNOWN_LANGUAGE]
    asked = options.model_copy(update={"language": language.code})
    if options.timestamps == "word" and language.code not in LANGUAGES_WITH_WORD_TIMES:
        return asked.model_copy(update={"timestamps": "segment"}), [*flags, Flag.TIMESTAMPS_UNAVAILABLE]
    return asked, flags


def _settled_words(said: Sequence[_Said], options: TranscribeOptions) -> list[_Said]:
    """Leave each word to one of the windows that heard it, where windows overlap."""
    overlap = any(left.window[1] > right.window[0] for left, right in pairwise(said))
    if options.timestamps != "word" or not overlap:
        return list(said)
    settled = settle_windows([one.window for one in said], [one.words for one in said])
    return [
        replace(one, words=words, text=join_words((word.text for word in words), options.language))
        if one.words
        else one
        for one, words in zip(said, settled, strict=True)
    ]


def _read(window: Span, answer: Answer, no_speech_prob: float | None, options: TranscribeOptions) -> _Said:
    """Read one answer; words that the model itself does not believe in are dropped."""
    text, words, flags = _text_and_words(window, answer, options)
    if not has_letters(text):
        flags.append(Flag.UNPARSED if text or flags else Flag.EMPTY)
    flags += ending_flags(answer)
    if is_loop(answer, text) and Flag.LOOP not in flags:
        flags.append(Flag.LOOP)
    if has_letters(text) and is_invented(answer, no_speech_prob):
        return _Said(window, "", (), answer, (*flags, Flag.NO_SPEECH), no_speech_prob)
    return _Said(window, text, tuple(words), answer, tuple(flags), no_speech_prob)


def _text_and_words(
    window: Span, answer: Answer, options: TranscribeOptions
) -> tuple[str, list[Word], list[Flag]]:
    """Return what one answer says, its words moved to their place in the chunk, and what was wrong with its form."""
    text = readable(answer.text, options.language)
    if options.timestamps != "word":
        return text, [], [Flag.STRAY_TAGS] if has_control_token(answer.text) else []
    start, end = window
    found, flags = parse_word_times(answer.text, end - start, answer.starts, answer.logprobs)
    if not found:
        return text, [], [*flags, Flag.MISSING_TIMES] if has_letters(text) else flags
    words = [
        replace(word, start_sample=start + word.start_sample, end_sample=start + word.end_sample)
        for word in found
    ]
    return join_words((word.text for word in words), options.language), words, flags


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
        "utterances": [_utterance(one) for one in heard if _is_utterance(one, said, options)],
        "avg_logprob": mean_logprob(logprobs),
        "compression_ratio": compression_ratio(text),
        "no_speech_prob": min(doubts, default=None),
        "flags": [str(flag) for flag in dict.fromkeys([*flags, *shown])],
    }


def _is_utterance(one: _Said, said: Sequence[_Said], options: TranscribeOptions) -> bool:
    """Say whether a text stands in its window: also that of a half whose word times are missing beside the other's."""
    if options.timestamps == "word":
        return len(said) > 1 and not one.words
    return options.timestamps == "segment"


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
