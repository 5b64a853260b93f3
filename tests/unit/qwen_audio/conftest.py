"""Share one golden checkpoint, one tiny checkpoint and the recorded figures among the model's tests."""

from __future__ import annotations

import importlib.metadata
import json
import re
import runpy
import shutil
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qwen_audio.bundled import find_bundled
from qwen_audio.engine import Engine
from qwen_audio.features import WINDOW_SAMPLES, audio_tokens, log_mel, mel_frames
from qwen_audio.front import Front
from qwen_audio.modeling import QwenAudioForConditionalGeneration
from qwen_audio.plain_engine import PlainEngine
from qwen_audio.tiny import write_tiny
from qwen_audio.tokenizer import VOCABULARY_FILE, QwenAudioTokenizer

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "qwen_audio"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    return GOLDEN


@pytest.fixture(scope="session")
def golden_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("golden-checkpoint")
    manifest = json.loads((GOLDEN / "tensor_manifest.json").read_text())
    runpy.run_path(str(GOLDEN / "checkpoint.py"))["write_checkpoint"](folder, manifest)
    files = importlib.metadata.files("dashscope") or []
    vocabulary = next(file for file in files if str(file) == "dashscope/resources/qwen.tiktoken")
    shutil.copy(vocabulary.locate(), folder / VOCABULARY_FILE)
    return folder


@pytest.fixture(scope="session")
def golden_tokenizer(golden_folder: Path) -> QwenAudioTokenizer:
    return QwenAudioTokenizer.from_pretrained(golden_folder)


@pytest.fixture(scope="session")
def golden_model(golden_folder: Path) -> QwenAudioForConditionalGeneration:
    return QwenAudioForConditionalGeneration.from_pretrained(golden_folder, dtype="float32")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    write_tiny(folder)
    return folder


@pytest.fixture
def tiny_copy(tiny_folder: Path, tmp_path: Path) -> Path:
    """A tiny checkpoint of the test's own, to be damaged."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_folder: Path) -> QwenAudioTokenizer:
    return QwenAudioTokenizer.from_pretrained(tiny_folder)


@pytest.fixture(scope="session")
def tiny_model(tiny_folder: Path) -> QwenAudioForConditionalGeneration:
    return QwenAudioForConditionalGeneration.from_pretrained(tiny_folder, dtype="float32")


@pytest.fixture(scope="session")
def mini_folder() -> Path:
    folder = find_bundled("mini")
    assert folder is not None
    return folder


@pytest.fixture(scope="session")
def mini_tokenizer(mini_folder: Path) -> QwenAudioTokenizer:
    return QwenAudioTokenizer.from_pretrained(mini_folder)


@pytest.fixture(scope="session")
def mini_model(mini_folder: Path) -> QwenAudioForConditionalGeneration:
    return QwenAudioForConditionalGeneration.from_pretrained(mini_folder, dtype="float32")


@pytest.fixture(params=[Engine, PlainEngine], ids=["fast", "plain"])
def engine_class(request: pytest.FixtureRequest) -> type[Front]:
    """What one engine promises, the other must keep."""
    return request.param


@pytest.fixture
def engine(
    engine_class: Any, tiny_model: QwenAudioForConditionalGeneration, tiny_tokenizer: QwenAudioTokenizer
) -> Iterator[Front]:
    with engine_class(tiny_model, tiny_tokenizer, name="tiny") as engine:
        yield engine


@pytest.fixture(scope="session")
def clip() -> Callable[[str], np.ndarray]:
    """Reads one of the synthetic clips: int16 (samples,)."""

    def read(name: str) -> np.ndarray:
        with wave.open(str(GOLDEN / "audio" / name)) as stream:
            return np.frombuffer(stream.readframes(stream.getnframes()), np.int16)

    return read


@dataclass(frozen=True)
class Case:
    """One recorded case: the official figures and our inputs for it."""

    figures: dict[str, Any]
    inputs: dict[str, torch.Tensor]  # what the model takes


@pytest.fixture(scope="session")
def case(clip: Callable[[str], np.ndarray], golden_tokenizer: QwenAudioTokenizer) -> Callable[[str], Case]:
    index = json.loads((GOLDEN / "index.json").read_text())

    def build(name: str) -> Case:
        (text,) = index[name]["texts"]
        paths = re.findall(r"<audio>audio/(.*?)</audio>", text)
        clips = [clip(path)[:WINDOW_SAMPLES] for path in paths]  # the official code cuts in silence
        lengths = [mel_frames(len(samples)) for samples in clips]
        ids = golden_tokenizer.encode_template(text, [audio_tokens(length) for length in lengths])
        with np.load(GOLDEN / f"{name}.npz") as figures:
            return Case(
                figures={key: figures[key] for key in figures.files},
                inputs={
                    "input_ids": torch.tensor([ids]),
                    "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
                    "input_features": torch.stack([log_mel(samples) for samples in clips]),
                    "feature_lengths": torch.tensor(lengths),
                },
            )

    return build
