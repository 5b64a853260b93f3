"""Read a user's own examples, one JSON object a line, and report every line that cannot be learned from.

A line has ``audio`` (a file, relative to the JSONL file), then either ``task`` with ``options``, as the API takes
them, or ``prompt`` in the official notation; and either ``target``, the true answer in the official notation, or
``words``, a list of objects with ``text``, ``start`` and ``end`` in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from pipeline.decode import DecodeOptions, decode
from pipeline.errors import AudioError
from pipeline.json_lines import BadLine, read_object
from pipeline.tasks import get_task, targets
from pipeline.tasks.task import ASKED, UnknownTask
from qwen_audio.errors import QwenAudioError
from qwen_audio.features import SAMPLING_RATE, WINDOW_SAMPLES, audio_tokens, log_mel
from qwen_audio.prefix import SPAN_ENDS
from qwen_audio.tags import TIME_TAG
from qwen_audio.tokenizer import QwenAudioTokenizer
from training.errors import InvalidTrainingLine, NoTrainingData
from training.examples import Example, Pair, pack
from training.loader import Draw
from training.tracks import IGNORED, unknown_labels

FIELDS = ("audio", "task", "options", "prompt", "target", "words")
SLACK_SECONDS = 0.04  # one audio token: stamps are rounded to it


@dataclass
class Lines:
    """The examples of a file and what was wrong with the lines that are missing among them."""

    examples: list[Example] = field(default_factory=list)
    bad: list[BadLine] = field(default_factory=list)


def read_lines(
    path: Path, tokenizer: QwenAudioTokenizer, *, most_positions: int, stop_at_bad: bool = False
) -> Lines:
    """Read a JSONL file; ``most_positions`` is what audio, prompt and answer may take together.

    A bad line is reported with its number and left out; with ``stop_at_bad`` it raises ``InvalidTrainingLine``.
    Raises ``NoTrainingData`` when no good line is left. Clips are held in memory, 58 MB an hour.
    """
    lines = Lines()
    with path.open(encoding="utf-8") as stream:
        for number, text in enumerate(stream, start=1):
            if not text.strip():
                continue
            try:
                lines.examples.append(_example(text, path.parent, tokenizer, most_positions))
            except InvalidTrainingLine as error:
                if stop_at_bad:
                    raise InvalidTrainingLine(f"{path}, line {number}: {error}") from None
                lines.bad.append(BadLine(number, str(error)))
    if not lines.examples:
        raise NoTrainingData(f"{path} holds no line to learn from; {len(lines.bad)} were bad")
    return lines


def _example(text: str, folder: Path, tokenizer: QwenAudioTokenizer, most_positions: int) -> Example:
    line = _parse(text)
    prompt = _prompt(line, tokenizer)
    mel = _mel(folder / str(line["audio"]))
    answer = _encode(_answer(line, len(mel) / 100), tokenizer)
    needed = audio_tokens(len(mel)) + SPAN_ENDS + len(prompt) + len(answer)
    if needed > most_positions:
        raise InvalidTrainingLine(
            f"audio, prompt and target need {needed} positions, the model has {most_positions}"
        )
    phonemes = np.full(len(mel) // 2, IGNORED)
    return pack(mel, [Pair(prompt, answer)], tokenizer, phonemes, unknown_labels(len(mel)))


def _parse(text: str) -> dict[str, Any]:
    try:
        line = read_object(text)
    except ValueError as error:
        raise InvalidTrainingLine(str(error)) from None
    unknown = sorted(line.keys() - set(FIELDS))
    if unknown:
        raise InvalidTrainingLine(f"unknown field {', '.join(unknown)}: known are {', '.join(FIELDS)}")
    if not isinstance(line.get("audio"), str):
        raise InvalidTrainingLine("no audio: give a file's name")
    for one, other in (("task", "prompt"), ("target", "words")):
        if (one in line) == (other in line):
            raise InvalidTrainingLine(f"give either {one} or {other}")
    return line


def _prompt(line: dict[str, Any], tokenizer: QwenAudioTokenizer) -> tuple[int, ...]:
    if "prompt" in line:
        return _encode(str(line["prompt"]), tokenizer)
    try:
        task = get_task(str(line["task"]))
        options = task.Options.model_validate(line.get("options", {}), context=ASKED)
    except UnknownTask as error:
        raise InvalidTrainingLine(str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidTrainingLine(f"options: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return tuple(tokenizer.encode_prompt(task.prompt(options)))


def _encode(text: str, tokenizer: QwenAudioTokenizer) -> tuple[int, ...]:
    try:
        return tuple(tokenizer.encode_template(text))
    except QwenAudioError as error:
        raise InvalidTrainingLine(str(error)) from None


def _answer(line: dict[str, Any], seconds: float) -> str:
    if "target" in line:
        answer = str(line["target"])
        latest = max(map(float, TIME_TAG.findall(answer)), default=0.0)
    else:
        words = list(_words(line["words"]))
        latest = max((end for _, _, end in words), default=0.0)
        answer = targets.word_times(words, seconds)
    if latest > seconds + SLACK_SECONDS:
        raise InvalidTrainingLine(f"a time of {latest:.2f} s lies beyond the clip, which has {seconds:.2f} s")
    return answer


def _words(words: Any) -> Iterator[tuple[str, float, float]]:
    clock = 0.0
    if not isinstance(words, list):
        raise InvalidTrainingLine("words must be a list")
    for word in words:
        try:
            text, start, end = str(word["text"]), float(word["start"]), float(word["end"])
        except (TypeError, KeyError, ValueError):
            raise InvalidTrainingLine(f"a word needs text, start and end in seconds, not {word!r}") from None
        if not clock - SLACK_SECONDS <= start < end:
            raise InvalidTrainingLine(
                f"the word {text!r} from {start} to {end} s runs backwards or into the one before"
            )
        clock = end
        yield text, start, end


@lru_cache(maxsize=1)  # lines about one clip usually follow each other
def _mel(path: Path) -> NDArray[np.float32]:
    """Decode a file in the product's sandbox and compute its features, float32 (frames, 80)."""
    if not path.is_file():
        raise InvalidTrainingLine(f"there is no audio file {path}")
    limit = WINDOW_SAMPLES / SAMPLING_RATE
    try:
        with path.open("rb") as stream, decode(stream, DecodeOptions(max_seconds=limit)) as decoding:
            samples = np.frombuffer(b"".join(decoding.blocks()), np.int16)
        return np.ascontiguousarray(log_mel(samples).T.numpy())
    except (AudioError, QwenAudioError) as error:
        raise InvalidTrainingLine(f"{path}: {error}") from None


def draw_from(examples: Sequence[Example]) -> Draw:
    """Return what a loader draws its examples with: any of these, at random."""

    def draw(chance: np.random.Generator, progress: float) -> Example:
        return examples[int(chance.integers(len(examples)))]

    return draw
