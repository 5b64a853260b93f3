"""A user's lines are learned from, and every line that cannot be is named with its number."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen_audio.features import audio_tokens
from training.errors import InvalidTrainingLine, NoTrainingData
from training.jsonl import read_lines
from training.vocabulary import mini_tokenizer

SECONDS = 1.2
GOOD = {"audio": "clip.wav", "task": "transcribe", "target": " hello anna"}
PROMPT = "<|startoftranscript|><|en|><|transcribe|><|en|><|timestamps|><|0.00|>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    samples = (np.random.default_rng(0).normal(size=round(SECONDS * 16_000)) * 3_000).astype("<i2")
    with wave.open(str(tmp_path / "clip.wav"), "wb") as writer:
        writer.setparams((1, 2, 16_000, len(samples), "NONE", ""))
        writer.writeframes(samples.tobytes())
    (tmp_path / "noise.wav").write_bytes(b"this is not audio")
    return tmp_path


def write(folder: Path, *lines: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_line_becomes_prompt_answer_and_end(folder: Path) -> None:
    tokenizer = mini_tokenizer()
    lines = read_lines(write(folder, GOOD), tokenizer, most_positions=2_048)
    (example,) = lines.examples
    assert not lines.bad
    assert tokenizer.decode(example.ids) == PROMPT + " hello anna"
    learned = example.targets[example.targets >= 0]
    assert tokenizer.decode(learned) == " hello anna<|endoftext|>"
    assert example.span == audio_tokens(120) + 2


def test_words_with_seconds_become_stamps(folder: Path) -> None:
    tokenizer = mini_tokenizer()
    words = [{"text": "hello", "start": 0.2, "end": 0.5}, {"text": "anna", "start": 0.5, "end": 0.9}]
    line = {"audio": "clip.wav", "task": "transcribe", "options": {"timestamps": "word"}, "words": words}
    (example,) = read_lines(write(folder, line), tokenizer, most_positions=2_048).examples
    learned = tokenizer.decode(example.targets[example.targets >= 0])
    assert learned == "<|sil|><|0.20|> hello<|0.48|> anna<|0.88|><|sil|><|1.20|><|endoftext|>"


BAD: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "not JSON"),
    "a list": ([1], "not a JSON object"),
    "no audio": ({"task": "caption", "target": "rain falls"}, "no audio"),
    "an absent file": ({**GOOD, "audio": "gone.wav"}, "there is no audio file"),
    "a file that is no audio": ({**GOOD, "audio": "noise.wav"}, "noise.wav"),
    "an unknown field": ({**GOOD, "speed": 2}, "unknown field speed"),
    "an unknown task": ({**GOOD, "task": "dance"}, "no task 'dance'"),
    "what nobody may ask": (
        {**GOOD, "task": "translate", "options": {"language": "en"}},
        "options: language: there is nothing to translate",
    ),
    "an unknown option": ({**GOOD, "options": {"volume": 3}}, "options: volume"),
    "an unknown tag": (
        {"audio": "clip.wav", "prompt": "<|startoftranscription|>", "target": "a"},
        "startoftranscription",
    ),
    "a tag in the target": ({**GOOD, "target": "<|nonsense|>"}, "nonsense"),
    "neither task nor prompt": ({"audio": "clip.wav", "target": "a"}, "either task or prompt"),
    "both target and words": ({**GOOD, "words": []}, "either target or words"),
    "a stamp beyond the clip": ({**GOOD, "target": " hello<|1.40|>"}, "beyond the clip"),
    "a word beyond the clip": (
        {"audio": "clip.wav", "task": "transcribe", "words": [{"text": "a", "start": 1.0, "end": 1.5}]},
        "beyond the clip",
    ),
    "a word that runs backwards": (
        {"audio": "clip.wav", "task": "transcribe", "words": [{"text": "a", "start": 1.0, "end": 0.5}]},
        "runs backwards",
    ),
    "a word without times": (
        {"audio": "clip.wav", "task": "transcribe", "words": [{"text": "a"}]},
        "needs text",
    ),
    "a target that is too long": ({**GOOD, "target": " hello" * 3_000}, "positions"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_line_is_named_and_left_out(folder: Path, name: str) -> None:
    line, reason = BAD[name]
    lines = read_lines(write(folder, GOOD, "", line, GOOD), mini_tokenizer(), most_positions=2_048)
    assert len(lines.examples) == 2
    (bad,) = lines.bad
    assert bad.number == 3
    assert reason in bad.reason


def test_a_bad_line_stops_where_that_is_asked_for(folder: Path) -> None:
    path = write(folder, GOOD, {**GOOD, "task": "dance"})
    with pytest.raises(InvalidTrainingLine, match="line 2"):
        read_lines(path, mini_tokenizer(), most_positions=2_048, stop_at_bad=True)


def test_a_file_without_a_good_line_is_refused(folder: Path) -> None:
    with pytest.raises(NoTrainingData, match="1 were bad"):
        read_lines(write(folder, {**GOOD, "task": "dance"}), mini_tokenizer(), most_positions=2_048)


def test_a_clip_beyond_half_a_minute_is_refused(folder: Path) -> None:
    with wave.open(str(folder / "long.wav"), "wb") as writer:
        writer.setparams((1, 2, 8_000, 0, "NONE", ""))
        writer.writeframes(bytes(2 * 8_000 * 31))
    lines = read_lines(
        write(folder, {**GOOD, "audio": "long.wav"}, GOOD), mini_tokenizer(), most_positions=2_048
    )
    assert [bad.number for bad in lines.bad] == [1]
