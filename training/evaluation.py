"""Ask a checkpoint about held-out clips, through the engine as the product does, and count what was right."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from pipeline.tasks import prompts
from pipeline.tasks.text import readable
from pipeline.tasks.word_times import parse_word_times
from qwen_audio.answers import Answer
from qwen_audio.engine import Engine
from qwen_audio.tags import LANGUAGES, Prompt, Tag, TimeTag
from training import captions, examples, foreign
from training.clips import Clip
from training.held_out import Sets

AT_ONCE = 16  # clips asked about together
SAMPLES_PER_MS = 16
LABEL_TOKENS = 8
CAPTION_TOKENS = 40
NOTE_TOKENS = 24
_PITCH = re.compile(r"<\|midi_pitch_(\d+)\|>")
_INSTRUMENT = re.compile(r"<\|instrument\|>([^<]*)")


@dataclass
class Words:
    """Counts over transcripts: errors against true words, and how far off the stamps of right words are."""

    errors: int = 0
    words: int = 0
    offsets_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The word error rate, in per cent."""
        return 100 * self.errors / max(self.words, 1)


def evaluate(engine: Engine, sets: Sets) -> dict[str, float]:
    """Return the figures of the bench, rates in per cent, without its speed and size."""
    timed = {
        name: _transcribe(engine, sets[name]) for name in ("sentences", "random", "new_voice", "several")
    }
    plain = _transcribe_plainly(engine, sets["sentences"])
    offsets = [offset for words in timed.values() for offset in words.offsets_ms]
    spoken = [*sets["sentences"][: len(sets["foreign"]) // 4], *sets["foreign"]]
    scenes = [*sets["sounds"], *sets["sentences"]]
    emotional = [*sets["sentences"], *sets["random"]]
    general = [*scenes, *sets["notes"]]
    notes = _ask(engine, sets["notes"], prompts.note_prompt(), NOTE_TOKENS)
    return {
        "wer": timed["sentences"].rate,
        "wer_random": timed["random"].rate,
        "wer_new_voice": timed["new_voice"].rate,
        "wer_long": timed["several"].rate,
        "wer_plain": plain.rate,
        "no_speech_acc": _no_words(engine, sets["nothing"]),
        "word_time_median_ms": median(offsets) if offsets else float("nan"),
        "language_acc": _languages(engine, spoken),
        "caption_acc": _labels(engine, scenes, examples.caption_branch, CAPTION_TOKENS),
        "scene_acc": _labels(engine, scenes, _scene_branch, LABEL_TOKENS),
        "emotion_acc": _balanced(engine, emotional, examples.emotion_branch),
        "events_acc": _labels(engine, general, examples.events_branch, CAPTION_TOKENS),
        "speaker_acc": _labels(engine, emotional, examples.speaker_branch, LABEL_TOKENS),
        "question_acc": _questions(engine, general),
        "vocal_acc": _labels(engine, sets["vocals"], _vocal_branch, LABEL_TOKENS),
        "instrument_acc": _share(
            [_find(_INSTRUMENT, answer) == (clip.note or {})["instrument"] for answer, clip in notes]
        ),
        "pitch_acc": _share(
            [_find(_PITCH, answer) == str((clip.note or {})["pitch"]) for answer, clip in notes]
        ),
    }


def word_times_prompt() -> Prompt:
    """Return the prompt that transcribes English with word times."""
    return examples.word_times_branch(Clip(language="en")).prompt


def edit_alignment(said: Sequence[str], heard: Sequence[str]) -> tuple[int, list[tuple[int, int]]]:
    """Return the edit distance and the pairs of places that hold the same word on a best path."""
    table = np.zeros((len(said) + 1, len(heard) + 1), int)
    table[:, 0], table[0] = np.arange(len(said) + 1), np.arange(len(heard) + 1)
    for row in range(1, len(said) + 1):
        for column in range(1, len(heard) + 1):
            differs = int(said[row - 1] != heard[column - 1])
            table[row, column] = min(
                table[row - 1, column] + 1, table[row, column - 1] + 1, table[row - 1, column - 1] + differs
            )
    pairs, row, column = [], len(said), len(heard)
    while row and column:
        differs = int(said[row - 1] != heard[column - 1])
        if table[row, column] == table[row - 1, column - 1] + differs:
            row, column = row - 1, column - 1
            if not differs:
                pairs.append((row, column))
        elif table[row, column] == table[row - 1, column] + 1:
            row -= 1
        else:
            column -= 1
    return int(table[-1, -1]), pairs[::-1]


def _transcribe(engine: Engine, clips: Sequence[Clip]) -> Words:
    counts = Words()
    for answer, clip in _ask(engine, clips, word_times_prompt(), None):
        heard, _ = parse_word_times(answer.text, clip.frames * 160)
        errors, pairs = edit_alignment([word.text for word in clip.words], [word.text for word in heard])
        counts.errors += errors
        counts.words += len(clip.words)
        for true, found in pairs:
            counts.offsets_ms.append(
                abs(clip.words[true].start * 10 - heard[found].start_sample / SAMPLES_PER_MS)
            )
            counts.offsets_ms.append(
                abs(clip.words[true].end * 10 - heard[found].end_sample / SAMPLES_PER_MS)
            )
    return counts


def _transcribe_plainly(engine: Engine, clips: Sequence[Clip]) -> Words:
    counts = Words()
    for answer, clip in _ask(engine, clips, examples.transcript_branch(Clip(language="en")).prompt, None):
        errors, _ = edit_alignment(clip.text.split(), readable(answer.text).split())
        counts.errors += errors
        counts.words += len(clip.words)
    return counts


def _no_words(engine: Engine, clips: Sequence[Clip]) -> float:
    silent = []
    for answer, clip in _ask(engine, clips, word_times_prompt(), None):
        words, _ = parse_word_times(answer.text, clip.frames * 160)
        silent.append(not words)
    return _share(silent)


def _languages(engine: Engine, clips: Sequence[Clip]) -> float:
    tags = [LANGUAGES[code] for code in ("en", *foreign.SENTENCES)]
    answers = _ask(engine, clips, prompts.language_prompt(), 1, score=tags)
    right = []
    for answer, clip in answers:
        best = max(answer.scores, key=answer.scores.__getitem__)
        right.append(best == str(LANGUAGES[clip.language or "en"]))
    return _share(right)


def _scene_branch(clip: Clip) -> examples.Branch:
    return examples.Branch("scene", prompts.scene_prompt(), captions.scene(clip))


def _vocal_branch(clip: Clip) -> examples.Branch:
    return examples.Branch("vocal", prompts.vocal_prompt(), clip.vocal or "")


def _questions(engine: Engine, clips: Sequence[Clip]) -> float:
    """Ask every question of some clips of each kind; return the mean of the shares right of true yes and true no."""
    right: dict[str, list[bool]] = {"yes": [], "no": []}
    for question in captions.every_question():
        asked = _ask(
            engine, clips[:: len(captions.every_question())], prompts.question_prompt(question), LABEL_TOKENS
        )
        for answer, clip in asked:
            truth = captions.answer(question, clip)
            right[truth].append(readable(answer.text) == truth)
    return sum(map(_share, right.values())) / 2


def _labels(
    engine: Engine, clips: Sequence[Clip], branch: Callable[[Clip], examples.Branch], limit: int
) -> float:
    asked = _ask(engine, clips, branch(clips[0]).prompt, limit)
    return _share([readable(answer.text) == branch(clip).answer for answer, clip in asked])


def _balanced(engine: Engine, clips: Sequence[Clip], branch: Callable[[Clip], examples.Branch]) -> float:
    """Return the mean of the shares right of each label: the most frequent one must not carry the others."""
    by_label: dict[str, list[bool]] = {}
    for answer, clip in _ask(engine, clips, branch(clips[0]).prompt, LABEL_TOKENS):
        label = branch(clip).answer
        by_label.setdefault(label, []).append(readable(answer.text) == label)
    return sum(map(_share, by_label.values())) / len(by_label)


def _find(pattern: re.Pattern[str], answer: Answer) -> str | None:
    match = pattern.search(answer.text)
    return match[1] if match else None


def _share(right: Sequence[bool]) -> float:
    return 100 * sum(right) / max(len(right), 1)


def _ask(
    engine: Engine,
    clips: Sequence[Clip],
    prompt: Prompt,
    limit: int | None,
    score: Sequence[Tag | TimeTag | str] | None = None,
) -> list[tuple[Answer, Clip]]:
    """Ask one thing about every clip, a few at a time; without a limit, as many tokens as the clip can hold words."""
    answers: list[tuple[Answer, Clip]] = []
    for begin in range(0, len(clips), AT_ONCE):
        group = clips[begin : begin + AT_ONCE]
        prefixes = [engine.open(_samples(clip)) for clip in group]
        most = [limit or max(32, round(clip.frames * 0.16)) for clip in group]
        futures = [
            prefix.branch(prompt, most_tokens, score=score)
            for prefix, most_tokens in zip(prefixes, most, strict=True)
        ]
        answers += [(future.result(), clip) for future, clip in zip(futures, group, strict=True)]
        for prefix in prefixes:
            prefix.close()
    return answers


def _samples(clip: Clip) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    assert clip.samples is not None, "held-out clips keep their samples"
    return clip.samples


def measure_speed(engine: Engine, clips: Sequence[Clip]) -> float:
    """Return seconds of audio a second, when transcript, caption, scene, emotion and language are asked in one pass."""
    asked = [
        (word_times_prompt(), None),
        (examples.caption_branch(Clip()).prompt, CAPTION_TOKENS),
        (prompts.scene_prompt(), LABEL_TOKENS),
        (examples.emotion_branch(Clip(emotion="neutral")).prompt, LABEL_TOKENS),
        (prompts.language_prompt(), 1),
    ]
    began = time.monotonic()
    for clip in clips:
        with engine.open(_samples(clip)) as prefix:
            futures = [prefix.branch(prompt, limit or round(clip.frames * 0.16)) for prompt, limit in asked]
            for future in futures:
                future.result()
    return sum(clip.frames for clip in clips) / 100 / (time.monotonic() - began)
