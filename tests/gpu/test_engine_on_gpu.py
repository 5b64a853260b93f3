"""What holds on a GPU; skipped where there is none. No GPU was at hand when these were written."""

import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qwen_audio.bundled import find_bundled
from qwen_audio.engine import Engine
from qwen_audio.features import log_mel, spectrogram, to_float
from qwen_audio.streaming import load_model
from qwen_audio.tags import Prompt, Tag, TimeTag
from qwen_audio.tokenizer import QwenAudioTokenizer
from qwen_audio.tuning import CPU, GPU

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

AUDIO = Path(__file__).resolve().parents[1] / "golden" / "qwen_audio" / "audio"
MINI = find_bundled("mini")
WORDS = Prompt((Tag.START_OF_TRANSCRIPT, Tag.EN, Tag.TRANSCRIBE, Tag.EN, Tag.TIMESTAMPS, TimeTag(0)))
CAPTION = Prompt(
    (Tag.START_OF_ANALYSIS, Tag.UNKNOWN, Tag.CAPTION, Tag.EN, Tag.NO_TIMESTAMPS, Tag.CAPTION_CLOTHO)
)
NAMES = ("syn_30s.wav", "syn_1s005.wav", "syn_3s217.wav", "syn_8s.wav")
SECONDS = 100


def _clip(name):
    with wave.open(str(AUDIO / name)) as stream:
        return np.frombuffer(stream.readframes(stream.getnframes()), np.int16)


def _answers(device, dtype, tuning):
    model = load_model(MINI, device, dtype)
    with Engine(model, QwenAudioTokenizer.from_pretrained(MINI), tuning=tuning) as engine:
        for _ in range(2):  # recordings are made the first time
            prefixes = [engine.open(_clip(name)) for name in NAMES]
            with (
                engine._changed
            ):  # all of them begin in one step, so that steps have the same shapes each time
                futures = [prefix.branch(prompt, 24) for prefix in prefixes for prompt in (WORDS, CAPTION)]
            answers = [future.result(SECONDS) for future in futures]
            for prefix in prefixes:
                prefix.close()
        return answers, engine._static


@pytest.mark.parametrize("decode", ["plain", "static", "graph"])
def test_a_gpu_in_float32_answers_as_the_cpu(decode):
    expected, _ = _answers("cpu", torch.float32, CPU)
    answers, static = _answers("cuda", torch.float32, replace(GPU, decode=decode))
    for answer, other in zip(answers, expected, strict=True):
        assert answer.ids == other.ids
        assert answer.logprobs == pytest.approx(other.logprobs, abs=2e-2)
    if decode == "graph":
        assert static.replays > 0


def test_replayed_steps_answer_as_computed_ones_in_half_precision():
    computed, _ = _answers("cuda", torch.bfloat16, replace(GPU, decode="static"))
    replayed, static = _answers("cuda", torch.bfloat16, replace(GPU, decode="graph"))
    assert static.replays > 0
    assert [answer.ids for answer in replayed] == [answer.ids for answer in computed]


@pytest.mark.parametrize("name", NAMES)
def test_features_of_the_gpu_are_those_of_the_cpu(name):
    samples = _clip(name)
    ours = spectrogram(to_float(samples).pin_memory().to("cuda", non_blocking=True))
    torch.testing.assert_close(ours.cpu(), log_mel(samples), atol=1e-4, rtol=0)


def test_rounded_weights_are_computed_on_the_gpu_as_on_the_cpu():
    found = []
    for device in ("cpu", "cuda"):
        model = load_model(MINI, device, torch.float32, int8=True)
        with Engine(model, QwenAudioTokenizer.from_pretrained(MINI)) as engine:
            found.append(engine.open(_clip("syn_8s.wav")).branch(WORDS, 24).result(SECONDS).ids)
    assert found[0] == found[1]
