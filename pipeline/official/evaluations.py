"""Know the nine official evaluations: prompt, token limit, how an answer is read, and the figures of a source.

Sources: the ``eval_audio/evaluate_*.py`` of Qwen-Audio. Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.official.captions import NOT_COMPUTED
from pipeline.official.data import Line
from pipeline.official.errors import InvalidLine, InvalidOptions, UnknownEvaluation
from pipeline.official.notes import read_note, score_notes
from pipeline.official.text import accuracy, bleu, normalise, word_error_rate
from pipeline.official.word_times import average_shift, read_times
from pipeline.tasks import prompts
from qwen_audio.tags import LANGUAGES, Prompt, Tag, TimeTag, language_tag

Figures = dict[str, float | None]
Heard = tuple[str, Line]
"""A prediction and the line that it answers."""


@dataclass(frozen=True)
class Options:
    """What a user may choose; None leaves it to the task. Raises ``InvalidOptions`` for an unknown language."""

    language: str | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        for code in (self.language, self.target):
            if code is not None and code not in LANGUAGES:
                raise InvalidOptions(f"no language {code!r}: choose one of {', '.join(LANGUAGES)}")

    @property
    def spoken(self) -> str:
        """The language of transcripts."""
        return "en" if self.language is None else self.language


@dataclass(frozen=True)
class Evaluation:
    """One evaluation. ``prompt`` raises ``InvalidLine``; ``score`` gets all that was heard of one source."""

    name: str
    alias: str
    limit: int  # new tokens
    prompt: Callable[[Line, Options], Prompt]
    parse: Callable[[str, Options], Any]
    score: Callable[[Sequence[Heard], Options], Figures]
    takes: tuple[str, ...] = ()
    has_several_gts: bool = False
    not_computed: tuple[str, ...] = ()

    def check(self, options: Options) -> None:
        """Raise ``InvalidOptions`` for one that this evaluation has no use for."""
        for name, value in asdict(options).items():
            if value is not None and name not in self.takes:
                raise InvalidOptions(f"{self.name} takes no --{name}")


def find_evaluation(name: str) -> Evaluation:
    """Return the evaluation by our name or the official abbreviation; raises ``UnknownEvaluation``."""
    for one in EVALUATIONS.values():
        if name.lower() in (one.name, one.alias):
            return one
    known = ", ".join(f"{one.name} ({one.alias})" for one in EVALUATIONS.values())
    raise UnknownEvaluation(f"there is no official evaluation {name!r}: choose one of {known}")


def language_pair(line: Line, options: Options) -> tuple[str, str]:
    """Return from which language into which: from the options, else from a source such as ``covost2_en_de_test``.

    Raises ``InvalidLine``.
    """
    parts = line.source.split("_")
    named = parts[-3:-1] if len(parts) >= 3 else ["", ""]
    source, target = options.language or named[0], options.target or named[1]
    if not (source in LANGUAGES and target in LANGUAGES):
        raise InvalidLine(
            f"the source {line.source!r} does not end in _FROM_INTO_SPLIT with two of {', '.join(LANGUAGES)}: "
            "give --language and --target"
        )
    return source, target


def _texts(heard: Sequence[Heard]) -> list[tuple[str, str]]:
    return [(prediction, _gt(line)) for prediction, line in heard]


def _gt(line: Line) -> str:
    assert isinstance(line.gt, str), "only captions have several true answers"
    return line.gt


def _timed_prompt(line: Line, options: Options) -> Prompt:
    spoken = language_tag(options.spoken)
    head = (Tag.START_OF_TRANSCRIPT, spoken, Tag.TRANSCRIBE, spoken)
    return Prompt((*head, Tag.TIMESTAMPS, TimeTag(0)))


def _caption_prompt(line: Line, options: Options) -> Prompt:
    head = (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN)
    return Prompt((*head, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO))


def _question_prompt(line: Line, options: Options) -> Prompt:
    if not line.question.strip():
        raise InvalidLine("no question")
    return prompts.question_prompt(line.question)


def _translation_prompt(line: Line, options: Options) -> Prompt:
    return prompts.translation_prompt(*language_pair(line, options))


def _score_words(heard: Sequence[Heard], options: Options) -> Figures:
    texts = _texts(heard)
    shift = average_shift(texts)
    return {
        "aas_seconds": shift.seconds,
        "matched_tokens": shift.tokens,
        "skipped": shift.skipped,
        "wer": word_error_rate(texts, options.spoken),
    }


def _score_questions(heard: Sequence[Heard], options: Options) -> Figures:
    texts = _texts(heard)
    binary = [pair for pair in texts if pair[1].lower() in ("yes", "no")]
    return {"accuracy": accuracy(texts), "binary_accuracy": accuracy(binary), "binary_lines": len(binary)}


def _score_labels(heard: Sequence[Heard], options: Options) -> Figures:
    return {"accuracy": accuracy(_texts(heard))}


def _as_it_came(prediction: str, options: Options) -> str:
    return prediction


_ALL = (
    Evaluation(
        "transcribe",
        "asr",
        256,
        lambda line, options: prompts.transcript_prompt(options.spoken),
        lambda prediction, options: normalise(prediction, options.spoken),
        lambda heard, options: {"wer": word_error_rate(_texts(heard), options.spoken)},
        takes=("language",),
    ),
    Evaluation(
        "words",
        "srwt",
        256,
        _timed_prompt,
        lambda prediction, options: read_times(prediction),
        _score_words,
        takes=("language",),
    ),
    Evaluation(
        "translate",
        "s2tt",
        256,
        _translation_prompt,
        _as_it_came,
        lambda heard, options: {"bleu": bleu(_texts(heard), language_pair(heard[0][1], options)[1])},
        takes=("language", "target"),
    ),
    Evaluation(
        "caption",
        "aac",
        30,
        _caption_prompt,
        _as_it_came,
        lambda heard, options: {},
        has_several_gts=True,
        not_computed=NOT_COMPUTED,
    ),
    Evaluation("scene", "asc", 10, lambda line, options: prompts.scene_prompt(), _as_it_came, _score_labels),
    Evaluation(
        "emotion", "ser", 4, lambda line, options: prompts.emotion_prompt("en"), _as_it_came, _score_labels
    ),
    Evaluation("vocal", "vsc", 4, lambda line, options: prompts.vocal_prompt(), _as_it_came, _score_labels),
    Evaluation("ask", "aqa", 4, _question_prompt, _as_it_came, _score_questions),
    Evaluation(
        "music",
        "mna",
        30,
        lambda line, options: prompts.note_prompt(),
        lambda prediction, options: asdict(read_note(prediction)),
        lambda heard, options: {**score_notes(_texts(heard))},
    ),
)

EVALUATIONS: Mapping[str, Evaluation] = {one.name: one for one in _ALL}
"""Every evaluation by our name for it."""


def score_sources(
    evaluation: Evaluation, heard: Sequence[Heard], options: Options
) -> dict[str, dict[str, float | None]]:
    """Return the figures of each source by itself, as published: there is no official figure over several."""
    by_source: dict[str, list[Heard]] = {}
    for one in sorted(heard, key=lambda one: one[1].number):
        by_source.setdefault(one[1].source, []).append(one)
    return {
        source: {"lines": len(group), **evaluation.score(group, options)}
        for source, group in by_source.items()
    }
